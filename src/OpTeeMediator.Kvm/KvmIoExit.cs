using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm;

/// <summary>An access to an I/O port (KVM_EXIT_IO, x86). Valid until the vCPU runs again.</summary>
/// <remarks>Belongs to the vCPU's thread.</remarks>
[Experimental("OPTEE001")]
public readonly ref struct KvmIoExit
{
    internal KvmIoExit(ushort port, bool isWrite, int size, Span<byte> data)
    {
        Port = port;
        IsWrite = isWrite;
        Size = size;
        Data = data;
    }

    /// <summary>The port.</summary>
    public ushort Port { get; }

    /// <summary>Whether the guest writes (OUT); else it reads (IN), and <see cref="Data"/> is to be filled.</summary>
    public bool IsWrite { get; }

    /// <summary>The size of one access in bytes: 1, 2 or 4.</summary>
    public int Size { get; }

    /// <summary>The bytes of all accesses (a string instruction makes several), <see cref="Size"/> each.</summary>
    public Span<byte> Data { get; }
}
