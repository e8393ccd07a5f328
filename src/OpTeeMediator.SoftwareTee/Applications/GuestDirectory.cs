using System.Text;
using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.SoftwareTee.Operations;

namespace OpTeeMediator.SoftwareTee.Applications;

/// <summary>A directory of the guest's tee-supplicant, from <see cref="GuestFileSystem.OpenDirectory"/>.</summary>
/// <remarks>
/// Disposing of it closes it; what is left open when the operation ends is closed then. It cannot be used after either.
/// Not thread-safe.
/// </remarks>
public sealed class GuestDirectory : IDisposable, IAsyncDisposable
{
    // NAME_MAX of Linux and the zero byte.
    private const int LongestEntry = 256;

    private readonly GuestFileSystem _files;
    private readonly GuestFileSystem.OpenHandle _handle;
    private readonly int _number;
    private bool _isClosed;

    internal GuestDirectory(GuestFileSystem files, GuestFileSystem.OpenHandle handle)
    {
        _files = files;
        _handle = handle;
        _number = files.Operation.Number;
    }

    private bool IsOpen => !_isClosed && _number == _files.Operation.Number;

    /// <summary>Reads the next name. Allocates it.</summary>
    /// <param name="name">
    /// The name, without the directory's; never of a hidden file. It is whatever the guest likes, and there may be any
    /// number of them.
    /// </param>
    /// <returns>The supplicant's answer: TEE_ERROR_ITEM_NOT_FOUND after the last one.</returns>
    /// <exception cref="ObjectDisposedException">The directory was closed.</exception>
    public TeeReturnCode Read(out string name)
    {
        ObjectDisposedException.ThrowIf(!IsOpen, this);
        Span<byte> bytes = stackalloc byte[LongestEntry];
        TeeReturnCode code = _files.Read(OpTeeRpc.DirectoryRead, _handle, 0, bytes, out int length);
        bytes = bytes[..length];
        int end = bytes.IndexOf((byte)0);
        name = Encoding.UTF8.GetString(end < 0 ? bytes : bytes[..end]);
        return code;
    }

    /// <summary>Reads the next name, as <see cref="Read"/>.</summary>
    /// <returns>The supplicant's answer and the name.</returns>
    /// <exception cref="ObjectDisposedException">The directory was closed.</exception>
    public ValueTask<GuestAnswer<string>> ReadAsync() =>
        _files.Operation.RunAsync(
            this, static directory => new GuestAnswer<string>(directory.Read(out string name), name));

    /// <summary>Closes the directory.</summary>
    public void Dispose()
    {
        if (IsOpen)
        {
            _files.Close(_handle);
        }

        _isClosed = true;
    }

    /// <inheritdoc cref="Dispose"/>
    public ValueTask DisposeAsync() => _files.Operation.DisposeAsync(this);
}
