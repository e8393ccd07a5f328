using System.Runtime.InteropServices;

namespace OpTeeMediator.Linux.Interop;

/// <summary>A mapping of this process that is unmapped when its last user lets go of it.</summary>
internal sealed class SafeMemoryMapping : SafeHandle
{
    private SafeMemoryMapping(nint address, nuint length)
        : base(LibC.MapFailed, ownsHandle: true)
    {
        SetHandle(address);
        Length = length;
    }

    public override bool IsInvalid => handle == LibC.MapFailed;

    internal nint Address => handle;

    internal nuint Length { get; }

    /// <summary>Maps a file for reading and writing, shared.</summary>
    /// <exception cref="SystemCallException">The kernel refused.</exception>
    internal static SafeMemoryMapping OfFile(SafeHandle file, nuint length, string operation)
    {
        nint address = LibC.Map(0, length, LibC.PROT_READ | LibC.PROT_WRITE, LibC.MAP_SHARED, file, 0);
        return address == LibC.MapFailed ? throw new SystemCallException(operation, Errno.Last, "") : new SafeMemoryMapping(address, length);
    }

    protected override bool ReleaseHandle() => LibC.Unmap(handle, Length) == 0;
}
