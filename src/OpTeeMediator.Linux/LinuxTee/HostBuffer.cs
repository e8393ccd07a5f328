using System.Runtime.InteropServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Diagnostics;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>Memory that is registered with the host's TEE: a guest's buffer itself, or, where that cannot be, memory of
/// the VMM to copy through.</summary>
/// <remarks>Thread-safe as memory is: calls that use the same bytes at the same time see what they see.</remarks>
internal sealed unsafe class HostBuffer : IDisposable
{
    private readonly PinBudget _budget;
    private readonly SafeHandle _registration;
    private readonly SafeMemoryMapping? _copy;
    private readonly long _pinnedBytes;
    private int _isDisposed;

    private HostBuffer(PinBudget budget, long pinnedBytes, SafeHandle registration, int id, SafeMemoryMapping? copy)
    {
        _budget = budget;
        _pinnedBytes = pinnedBytes;
        _registration = registration;
        _copy = copy;
        Id = (ulong)id;
    }

    /// <summary>The driver's identifier, for parameters.</summary>
    internal ulong Id { get; }

    /// <summary>Whether bytes are copied for each call, because the TEE cannot use the guest's pages.</summary>
    internal bool IsCopied => _copy is not null;

    /// <summary>Where the bytes lie that are copied; only if <see cref="IsCopied"/>.</summary>
    internal byte* Pointer => (byte*)_copy!.Address;

    /// <summary>Ends the registration: the TEE and the kernel release the pages.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) == 0)
        {
            _registration.Dispose();
            _copy?.Dispose();
            _budget.Return(_pinnedBytes);
        }
    }

    /// <summary>Registers a guest's buffer.</summary>
    internal static TeeReturnCode TryShare(HostTee tee, TeeSharedMemory memory, out HostBuffer? buffer)
    {
        buffer = null;
        if (memory.Size == 0)
        {
            return TeeReturnCode.BadParameters;
        }

        bool isMapped = memory.TryGetHostAddress(0, out nint address, out ulong length);
        ulong start = isMapped
            ? (ulong)address
            : memory.TryGetFile(0, out _, out long offset, out _) ? (ulong)offset : 0;
        long pinnedBytes = tee.Budget.PinnedBytes(start, memory.Size);
        if (!TryTake(tee, pinnedBytes, memory.Size))
        {
            return TeeReturnCode.OutOfMemory;
        }

        SafeMemoryMapping? copy = null;
        try
        {
            int error = isMapped && length >= memory.Size
                ? tee.Device.RegisterMemory(address, (nuint)memory.Size, out SafeHandle? registration, out int id)
                : RegisterContiguous(tee.Device, memory, out registration, out id);
            if (error is Errno.EFAULT or Errno.EOPNOTSUPP)
            {
                // The kernel cannot pin this memory (a device's, say), or its pieces do not fit together.
                tee.Logger.BufferIsCopied(tee.VirtualMachine, memory.Size);
                error = RegisterCopy(tee.Device, memory.Size, out registration, out id, out copy);
            }

            buffer = TryCreate(error, tee.Budget, pinnedBytes, registration, id, copy);
            return Answer(tee, error, memory.Size);
        }
        finally
        {
            // Refused, or what the VMM supplies has thrown.
            if (buffer is null)
            {
                tee.Budget.Return(pinnedBytes);
            }
        }
    }

    /// <summary>Registers memory of the VMM, all zero.</summary>
    internal static TeeReturnCode TryCreateCopied(HostTee tee, ulong size, out HostBuffer? buffer)
    {
        buffer = null;
        long pinnedBytes = tee.Budget.PinnedBytes(0, size);
        if (!TryTake(tee, pinnedBytes, size))
        {
            return TeeReturnCode.OutOfMemory;
        }

        try
        {
            int error =
                RegisterCopy(tee.Device, size, out SafeHandle? registration, out int id, out SafeMemoryMapping? copy);
            buffer = TryCreate(error, tee.Budget, pinnedBytes, registration, id, copy);
            return Answer(tee, error, size);
        }
        finally
        {
            if (buffer is null)
            {
                tee.Budget.Return(pinnedBytes);
            }
        }
    }

    /// <summary>Copies part of a guest's buffer to the TEE's side.</summary>
    internal bool TryCopyIn(TeeSharedMemory memory, ulong offset, ulong size) =>
        TryCopy(memory, offset, size, isIn: true);

    /// <summary>Copies part of the TEE's side to a guest's buffer.</summary>
    internal bool TryCopyOut(TeeSharedMemory memory, ulong offset, ulong size) =>
        TryCopy(memory, offset, size, isIn: false);

    private bool TryCopy(TeeSharedMemory memory, ulong offset, ulong size, bool isIn)
    {
        while (size != 0)
        {
            int length = (int)ulong.Min(size, int.MaxValue);
            Span<byte> copy = new(Pointer + offset, length);
            if (!(isIn ? memory.TryRead(offset, copy) : memory.TryWrite(offset, copy)))
            {
                return false;
            }

            offset += (ulong)length;
            size -= (ulong)length;
        }

        return true;
    }

    private static bool TryTake(HostTee tee, long pinnedBytes, ulong size)
    {
        PinBudget budget = tee.Budget;
        if (pinnedBytes >= 0 && budget.TryTake(pinnedBytes))
        {
            return true;
        }

        tee.Logger.PinBudgetExceeded(
            tee.VirtualMachine, size, budget.Bytes, budget.MaximumBytes, budget.Registrations,
            budget.MaximumRegistrations);
        return false;
    }

    private static int RegisterContiguous(
        ITeeDevice device, TeeSharedMemory memory, out SafeHandle? registration, out int id)
    {
        registration = null;
        id = -1;
        if (ContiguousMapping.TryCreate(memory) is not { } mapping)
        {
            return Errno.EOPNOTSUPP;
        }

        using (mapping)
        {
            return device.RegisterMemory(mapping.Address, (nuint)memory.Size, out registration, out id);
        }
    }

    // Memory of this process, because the driver's TEE_IOC_SHM_ALLOC needs contiguous memory of the host.
    private static int RegisterCopy(
        ITeeDevice device, ulong size, out SafeHandle? registration, out int id, out SafeMemoryMapping? copy)
    {
        registration = null;
        id = -1;
        copy = null;
        SafeMemoryMapping? mapping = SafeMemoryMapping.TryCreateShared((nuint)size);
        if (mapping is null)
        {
            return Errno.Last;
        }

        try
        {
            int error = device.RegisterMemory(mapping.Address, (nuint)size, out registration, out id);
            copy = error == 0 ? mapping : null;
            return error;
        }
        finally
        {
            if (copy is null)
            {
                mapping.Dispose();
            }
        }
    }

    private static HostBuffer? TryCreate(
        int error, PinBudget budget, long pinnedBytes, SafeHandle? registration, int id, SafeMemoryMapping? copy) =>
        error == 0 ? new HostBuffer(budget, pinnedBytes, registration!, id, copy) : null;

    private static TeeReturnCode Answer(HostTee tee, int error, ulong size)
    {
        if (error == 0)
        {
            return TeeReturnCode.Success;
        }

        // The TEE's room for registrations is shared by all its clients; that it is used up is an ordinary answer.
        tee.Logger.BufferRefused(tee.VirtualMachine, size, new ErrorName(error));
        return TeeReturnCode.OutOfMemory;
    }
}
