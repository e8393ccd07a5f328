using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm.SystemCalls;

/// <summary>A mapping of this process that is unmapped when its last user has released it.</summary>
internal sealed class SafeMemoryMapping : SafeHandle
{
    private SafeMemoryMapping(nint address, nuint length) : base(LibC.MapFailed, ownsHandle: true)
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
        return address == LibC.MapFailed
            ? throw new SystemCallException(operation, Errno.Last, "")
            : new SafeMemoryMapping(address, length);
    }

    /// <summary>Maps memory of this process that is all zero, shared with its children rather than copied.</summary>
    /// <returns><see langword="null"/> if there is none; <see cref="Errno.Last"/> tells why.</returns>
    internal static SafeMemoryMapping? TryCreateShared(nuint length)
    {
        nint address = LibC.Map(
            0, length, LibC.PROT_READ | LibC.PROT_WRITE, LibC.MAP_SHARED | LibC.MAP_ANONYMOUS, -1, 0);
        return address == LibC.MapFailed ? null : new SafeMemoryMapping(address, length);
    }

    protected override bool ReleaseHandle() => LibC.Unmap(handle, Length) == 0;
}
