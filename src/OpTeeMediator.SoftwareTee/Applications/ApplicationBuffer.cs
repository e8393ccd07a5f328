using System.Security.Cryptography;

namespace OpTeeMediator.SoftwareTee.Applications;

/// <summary>
/// Memory of an application that counts for its VM (TEE_Malloc), from <see cref="TrustedApplication.Allocate"/>.
/// </summary>
/// <remarks>
/// Disposing of it overwrites it with zeros; so does the end of the instance, a panic included. Not thread-safe.
/// </remarks>
public sealed class ApplicationBuffer : IDisposable
{
    private readonly ApplicationBuffers _owner;
    private byte[]? _bytes;

    internal ApplicationBuffer(ApplicationBuffers owner, byte[] bytes)
    {
        _owner = owner;
        _bytes = bytes;
        Size = bytes.Length;
    }

    /// <summary>The size in bytes.</summary>
    public int Size { get; }

    /// <summary>The memory, zeros at first.</summary>
    /// <exception cref="ObjectDisposedException">It was released.</exception>
    public Memory<byte> Memory => Bytes;

    /// <summary>The same for use at once.</summary>
    /// <exception cref="ObjectDisposedException">It was released.</exception>
    public Span<byte> Span => Bytes;

    private byte[] Bytes
    {
        get
        {
            ObjectDisposedException.ThrowIf(_bytes is null, this);
            return _bytes;
        }
    }

    /// <summary>Overwrites the memory and releases it.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _bytes, null) is { } bytes)
        {
            CryptographicOperations.ZeroMemory(bytes);
            _owner.Remove(this);
        }
    }
}
