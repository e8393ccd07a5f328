using System.Runtime.InteropServices;
using OpTeeMediator.Forwarding;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Testing.Forwarding;

/// <summary>Plays the part of an OP-TEE 4.5 built for virtualization, as recorded: its answers, its leftovers, its
/// shortcomings.</summary>
/// <remarks>It sees physical memory only, and believes every address. Thread-safe.</remarks>
public sealed class FakeOpTee(PhysicalRam ram) : ISecureMonitor
{
    public const uint BadParameters = 0xffff_0006;

    private const uint NotAvailable = OpTeeSmc.ReturnNotAvailable;
    private const uint RpcParameters = 4;

    private readonly Lock _lock = new();
    private readonly List<FakePartition> _partitions = [];

    /// <summary>For how many VMs there is room.</summary>
    public int Capacity { get; set; } = 2;

    /// <summary>The capabilities: all that the recorded build has.</summary>
    public ulong Capabilities { get; set; } = 0xfd;

    public int Threads { get; set; } = 2;

    /// <summary>What INVOKE_COMMAND does: each step asks the guest for something, see
    /// <see cref="FakeThread"/>.</summary>
    public Func<FakeThread, IEnumerable<RpcStep>>? OnInvoke { get; set; }

    /// <summary>What happens inside each SMC, before it is served: another vCPU that does something meanwhile, or a
    /// failing monitor.</summary>
    public Action<SmcRegisters>? OnCall { get; set; }

    /// <summary>Whether all threads are taken by something else.</summary>
    public bool HasNoThreads { get; set; }

    /// <summary>Whether each call is interrupted once, after it has begun and before it has done anything.</summary>
    public bool InterruptsCalls { get; set; }

    /// <summary>All SMCs, X0 to X7 as they came.</summary>
    public List<SmcRegisters> Calls { get; } = [];

    public bool Records { get; set; } = true;

    /// <summary>The VMs that it was told of, doubles among them.</summary>
    public IReadOnlyList<int> VirtualMachines
    {
        get
        {
            lock (_lock)
            {
                return [.. _partitions.Select(partition => partition.Id)];
            }
        }
    }

    public FakePartition PartitionOf(int id)
    {
        lock (_lock)
        {
            return _partitions.First(partition => partition.Id == id);
        }
    }

    public PhysicalRam Ram => ram;

    public void MakeCall(ref SmcRegisters registers)
    {
        lock (_lock)
        {
            if (Records)
            {
                Calls.Add(registers);
            }
        }

        OnCall?.Invoke(registers);
        lock (_lock)
        {
            Serve(ref registers);
        }
    }

    private void Serve(ref SmcRegisters registers)
    {
        uint functionId = registers.FunctionId.Value;
        int caller = (int)registers.X7;
        FakePartition? partition = _partitions.Find(candidate => candidate.Id == caller);
        if (!registers.FunctionId.IsFast)
        {
            ServeYielding(functionId, partition, ref registers);
            return;
        }

        if (registers.X7 != 0 && partition is null)
        {
            registers.X0 = NotAvailable;
            return;
        }

        switch (functionId)
        {
            case OpTeeSmc.CallsUid:
                Answer(ref registers, 0x384f_b3e0, 0xe7f8_11e3, 0xaf63_0002, 0xa5d5_c51b);
                break;

            case OpTeeSmc.CallsRevision:
                Answer(ref registers, 2, 0);
                break;

            case OpTeeSmc.GetOsRevision:
                Answer(ref registers, 4, 5);
                break;

            case OpTeeSmc.GetThreadCount:
                Answer(ref registers, OpTeeSmc.ReturnOk, (ulong)Threads);
                break;

            case OpTeeSmc.ExchangeCapabilities:
                Answer(ref registers, OpTeeSmc.ReturnOk, Capabilities, 0x42, RpcParameters);
                break;

            case OpTeeSmc.GetShmConfig:
                Answer(ref registers, OpTeeSmc.ReturnOk, 0x4200_0000, 0x20_0000, 1);
                break;

            case OpTeeSmc.VmCreated when registers.X7 == 0 && _partitions.Count < Capacity:
                _partitions.Add(new FakePartition((int)registers.X1, Threads));
                registers.X0 = OpTeeSmc.ReturnOk;
                break;

            case OpTeeSmc.VmCreated:
                registers.X0 = NotAvailable;
                break;

            case OpTeeSmc.VmDestroyed when registers.X7 == 0:
                int id = (int)registers.X1;
                int place = _partitions.FindIndex(candidate => candidate.Id == id);
                if (place >= 0)
                {
                    _partitions.RemoveAt(place);
                }

                registers.X0 = OpTeeSmc.ReturnOk;
                break;

            case OpTeeSmc.EnableShmCache:
                partition!.CachesRpcBuffers = true;
                registers.X0 = OpTeeSmc.ReturnOk;
                break;

            case OpTeeSmc.DisableShmCache:
                partition!.CachesRpcBuffers = false;
                if (partition.Threads.Any(thread => thread.IsSuspended))
                {
                    Answer(ref registers, OpTeeSmc.ReturnBusy);
                    break;
                }

                FakeThread? cached = partition.Threads.FirstOrDefault(thread => thread.RpcCookie is not null);
                Answer(ref registers, cached is null ? NotAvailable : OpTeeSmc.ReturnOk, cached?.RpcCookie >> 32 ?? 0,
                    (uint)(cached?.RpcCookie ?? 0));
                if (cached is not null)
                {
                    _ = partition.Memory.RemoveAll(one => one.Cookie == cached.RpcCookie && one.IsGuarded);
                    cached.RpcCookie = null;
                }

                break;

            case OpTeeSmc.EnableAsyncNotification:
                registers.X0 = OpTeeSmc.ReturnOk;
                break;

            case OpTeeSmc.GetAsyncNotificationValue:
                Answer(ref registers, OpTeeSmc.ReturnOk, 5, 1);
                break;

            default:
                Answer(ref registers, OpTeeSmc.ReturnUnknownFunction);
                break;
        }
    }

    private void ServeYielding(uint functionId, FakePartition? partition, ref SmcRegisters registers)
    {
        if (partition is null)
        {
            Fail(ref registers, NotAvailable);
            return;
        }

        FakeThread? thread;
        switch (functionId)
        {
            case OpTeeSmc.ReturnFromRpc:
                thread = registers.X3 < (ulong)partition.Threads.Count ? partition.Threads[(int)registers.X3] : null;
                if (thread is not { IsSuspended: true })
                {
                    Fail(ref registers, OpTeeSmc.ReturnResume);
                    return;
                }

                break;

            case OpTeeSmc.CallWithArgument:
            case OpTeeSmc.CallWithRpcArgument:
                thread = HasNoThreads ? null : partition.Threads.FirstOrDefault(candidate => !candidate.IsSuspended);
                ulong address = registers.Pair(1, 2);
                if (thread is null)
                {
                    Fail(ref registers, OpTeeSmc.ReturnThreadLimit);
                    return;
                }

                if (address % 4096 != 0 || address < ram.Start || address - ram.Start >= (ulong)ram.Length)
                {
                    Fail(ref registers, OpTeeSmc.ReturnBadAddress);
                    return;
                }

                thread.Begin(this, partition, address, hasRpcArgument: functionId == OpTeeSmc.CallWithRpcArgument);
                break;

            default:
                Fail(ref registers, OpTeeSmc.ReturnBadCommand);
                return;
        }

        thread.Resume(ref registers);
    }

    private static void Answer(ref SmcRegisters registers, ulong x0, ulong x1 = 0, ulong x2 = 0, ulong x3 = 0)
    {
        registers.X0 = x0;
        registers.X1 = x1;
        registers.X2 = x2;
        registers.X3 = x3;
    }

    // What the recorded build leaves in the registers with an error.
    private static void Fail(ref SmcRegisters registers, uint answer) =>
        Answer(ref registers, answer, 1, 0x80_0000_0000, 0xabab_ab00);

    /// <summary>Reads a page list as OP-TEE does.</summary>
    public ulong[] ReadPageList(ulong pointer, ulong size)
    {
        List<ulong> pages = [];
        ulong count = ((pointer % 4096) + size + 4095) / 4096;
        ReadOnlySpan<ulong> list = MemoryMarshal.Cast<byte, ulong>(ram.At(pointer & ~4095ul, 4096));
        for (int entry = 0; (ulong)pages.Count < count; entry++)
        {
            if (entry == OpTeeMessage.AddressesPerListPage)
            {
                list = MemoryMarshal.Cast<byte, ulong>(ram.At(list[entry], 4096));
                entry = 0;
            }

            pages.Add(list[entry]);
        }

        return [.. pages];
    }
}
