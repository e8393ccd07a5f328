using System.Runtime.ExceptionServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Forwarding;

/// <summary>The OP-TEE of this computer, built with NS-virtualization: what the forwarders of all VMs share.</summary>
/// <remarks>One for each computer, as OP-TEE itself rejects no number that is taken or unknown. Thread-safe.</remarks>
public sealed class HostOpTee
{
    internal const int LowestId = 1; // 0 is the hypervisor itself
    internal const int HighestId = ushort.MaxValue - 1;

    private readonly ISecureMonitor _monitor;
    private readonly Lock _lock = new();
    private readonly HashSet<int> _ids = [];
    private int _last;

    /// <summary>Finds the OP-TEE that a monitor reaches.</summary>
    /// <param name="monitor">The way to it; it must outlive this object.</param>
    /// <exception cref="ArgumentNullException"><paramref name="monitor"/> is <see langword="null"/>.</exception>
    /// <exception cref="TeeUnavailableException">There is no OP-TEE, or it is not built for VMs.</exception>
    public HostOpTee(ISecureMonitor monitor)
    {
        ArgumentNullException.ThrowIfNull(monitor);
        _monitor = monitor;
        SmcRegisters uid = Ask(OpTeeSmc.CallsUid);
        if (uid is not { X0: OpTeeUid.First, X1: OpTeeUid.Second, X2: OpTeeUid.Third, X3: OpTeeUid.Fourth })
        {
            throw new TeeUnavailableException(
                $"The secure world answered 0x{uid.X0:x}, 0x{uid.X1:x}, 0x{uid.X2:x}, 0x{uid.X3:x} to "
                + "CALLS_UID, which is not OP-TEE's. Is OP-TEE in the firmware, and does the SMC reach it?");
        }

        SmcRegisters capabilities = Ask(OpTeeSmc.ExchangeCapabilities);
        const ulong Needed = (ulong)(OpTeeCapabilities.Virtualization | OpTeeCapabilities.DynamicSharedMemory);
        if (capabilities.X0 != OpTeeSmc.ReturnOk || (capabilities.X1 & Needed) != Needed)
        {
            throw new TeeUnavailableException(
                $"OP-TEE answered 0x{capabilities.X0:x} with capabilities 0x{capabilities.X1:x} to "
                + "EXCHANGE_CAPABILITIES; bits 2 (dynamic shared memory) and 3 (virtualization) must be set. Build it "
                + "with CFG_NS_VIRTUALIZATION=y and CFG_CORE_DYN_SHM=y.");
        }

        Capabilities = (OpTeeCapabilities)(uint)capabilities.X1;
        RpcParameters = (int)Math.Min(capabilities.X3, Message.UsedParameters + 1);
        if (RpcParameters is 0 or > Message.UsedParameters)
        {
            // Known builds have 4. A guest cannot be offered more than a message copy has room for.
            Capabilities &= ~OpTeeCapabilities.RpcArgument;
        }

        SmcRegisters threads = Ask(OpTeeSmc.GetThreadCount);

        // Older ones do not know the call and have one thread at least.
        Threads = threads.X0 == OpTeeSmc.ReturnOk ? (int)Math.Clamp(threads.X1, 1, int.MaxValue) : 1;
    }

    /// <summary>How many VMs there are now.</summary>
    public int VirtualMachines
    {
        get
        {
            lock (_lock)
            {
                return _ids.Count;
            }
        }
    }

    /// <summary>The capabilities of OP-TEE itself, those without a name among them.</summary>
    internal OpTeeCapabilities Capabilities { get; }

    /// <summary>How many parameters an RPC message has at most in room that the guest supplies.</summary>
    internal int RpcParameters { get; }

    /// <summary>How many yielding calls of a VM it can serve at the same time.</summary>
    internal int Threads { get; }

    /// <summary>Takes a number that no other VM has.</summary>
    /// <exception cref="ArgumentException">The wanted one is taken.</exception>
    /// <exception cref="TeeUnavailableException">All are taken.</exception>
    internal int TakeId(int? wanted)
    {
        lock (_lock)
        {
            if (wanted is { } id)
            {
                return _ids.Add(id)
                    ? id
                    : throw new ArgumentException($"VirtualMachineId {id} belongs to another VM.", nameof(wanted));
            }

            if (_ids.Count == HighestId)
            {
                throw new TeeUnavailableException($"All {HighestId} numbers for VMs are in use.");
            }

            // Not the lowest free one: a number should not soon mean another VM.
            do
            {
                _last = _last == HighestId ? LowestId : _last + 1;
            }
            while (!_ids.Add(_last));
            return _last;
        }
    }

    internal void ReturnId(int id)
    {
        lock (_lock)
        {
            _ = _ids.Remove(id);
        }
    }

    /// <summary>OPTEE_SMC_VM_CREATED.</summary>
    /// <returns>What the monitor threw; OP-TEE does not know the VM then.</returns>
    internal Exception? TryCreate(int id, out uint answer)
    {
        Exception? failure = TryAsk(OpTeeSmc.VmCreated, (ulong)id, out SmcRegisters registers);
        answer = (uint)registers.X0;
        if (failure is not null)
        {
            // OP-TEE may know the VM, and would accept another of the same number beside it. To destroy an unknown VM
            // does no harm. What the monitor throws then adds nothing to the first failure.
            _ = TryDestroy(id, out _);
        }

        return failure;
    }

    /// <summary>OPTEE_SMC_VM_DESTROYED.</summary>
    /// <returns>What the monitor threw: whether OP-TEE has destroyed the VM is then unknown.</returns>
    internal Exception? TryDestroy(int id, out uint answer)
    {
        Exception? failure = TryAsk(OpTeeSmc.VmDestroyed, (ulong)id, out SmcRegisters registers);
        answer = (uint)registers.X0;
        return failure;
    }

    /// <summary>Makes a call of a VM: X7 tells OP-TEE which.</summary>
    /// <returns>What the monitor threw: whether OP-TEE has seen the call is then unknown.</returns>
    internal Exception? TryCall(ref SmcRegisters registers, int id)
    {
        registers.X6 = 0;
        registers.X7 = (ulong)id;
        return TryMakeCall(ref registers);
    }

    private SmcRegisters Ask(uint functionId)
    {
        if (TryAsk(functionId, 0, out SmcRegisters registers) is { } failure)
        {
            ExceptionDispatchInfo.Throw(failure);
        }

        return registers;
    }

    /// <summary>Makes a call of the hypervisor itself: X7 is 0.</summary>
    private Exception? TryAsk(uint functionId, ulong x1, out SmcRegisters registers)
    {
        registers = default;
        registers.X0 = functionId;
        registers.X1 = x1;
        Exception? failure = TryMakeCall(ref registers);

        // Results of SMC32 are W registers.
        for (int index = 0; index <= 3; index++)
        {
            registers[index] = (uint)registers[index];
        }

        return failure;
    }

    /// <summary>After a failure a yielding call is never resumed, and a fast one is answered ENOMEM.</summary>
    private Exception? TryMakeCall(ref SmcRegisters registers)
    {
        ulong functionId = registers.X0;
        try
        {
            _monitor.MakeCall(ref registers);
            return null;
        }
        catch (Exception exception)
        {
            registers.X0 = functionId;
            return exception;
        }
    }
}
