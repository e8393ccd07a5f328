using OpTeeMediator.Forwarding;
using OpTeeMediator.Fuzzing.Engine;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>Whole conversations of a guest with an OP-TEE that serves several VMs, through the forwarder.</summary>
/// <remarks>An input is what <see cref="HostileDriver"/> does. OP-TEE is <see cref="FakeOpTee"/>, which believes every
/// address: it must never get one that is not the guest's or the forwarder's.</remarks>
internal sealed class ForwarderTarget : FuzzTarget
{
    private const ulong RamStart = 0x5000_0000;
    private const int RamLength = 4 << 20;
    private const ulong GuestStart = 0x4000_0000;
    private const ulong BlockSize = 0x4000;
    private const int Blocks = 16;
    private const ulong Shadow = RamStart + (2 << 20);
    private const int MostStarts = 32;

    // A VM may be created again a limited number of times.
    private const int ExecutionsOfAVm = 50_000;

    private static readonly OpTeeForwarderOptions Options = new()
    {
        Limits = GuestScript.Limits,
        RecreationLimit = 1_000_000,
    };

    private FakeOpTee _opTee = null!;
    private WatchedMonitor _monitor = null!;
    private PartitionedMemory _memory = null!;
    private OpTeeForwarder _forwarder = null!;
    private HostileDriver _driver = null!;
    private int _shadowPages;
    private int _executions;

    public ForwarderTarget() => Create();

    public override IEnumerable<byte[]> Seeds => GuestScript.Seeds;

    public override void Execute(ReadOnlySpan<byte> input)
    {
        if (++_executions % ExecutionsOfAVm == 0)
        {
            _forwarder.DisposeAsync().AsTask().GetAwaiter().GetResult();
            Require(_memory.Pins == 0 && _opTee.VirtualMachines.Count == 0, "nothing is left of a VM");
            Create();
        }

        _driver.Play(input);
        CheckMonitor();
        Require(_memory.Pins == _forwarder.Status.Buffers, "each buffer is pinned, and nothing else");

        // After an interrupt the cleanup of an earlier driver goes on with the next calls.
        _driver.CleanUp();
        for (int starts = 0; !IsEmpty(); starts++)
        {
            Require(starts < MostStarts, "nothing is left of a driver");
            Require(_driver.Exchange() == OpTeeSmc.ReturnOk, "a driver can start again");
            _driver.CleanUp();
        }

        CheckMonitor();
    }

    private void CheckMonitor()
    {
        if (_monitor.Failure is { } failure)
        {
            throw new PropertyException($"OP-TEE gets addresses and cookies that it can use: {failure}");
        }
    }

    private bool IsEmpty()
    {
        FakePartition partition = _opTee.PartitionOf(_forwarder.VirtualMachineId);
        return _forwarder.Status == OpTeeGuestStatus.Nothing && _memory.Pins == 0
            && _forwarder.FreeShadowPages == _shadowPages
            && partition.Memory.Count == 0 && partition.Sessions.Count == 0;
    }

    private void Create()
    {
        ArrayRam ram = new(RamStart, RamLength);
        _opTee = new FakeOpTee(ram) { Threads = Options.Limits.Calls, Records = false, OnInvoke = Serve };
        _monitor = new WatchedMonitor(_opTee);

        // Guest addresses and physical ones differ from block to block.
        ulong[] blocks =
            [.. Enumerable.Range(1, Blocks).Select(block => RamStart + ((ulong)(Blocks - block) * BlockSize))];
        _memory = new PartitionedMemory(ram, GuestStart, BlockSize, blocks, Shadow, Options.ShadowPages);
        _forwarder = new OpTeeForwarder(new HostOpTee(_monitor), _memory, _memory, Options);
        _driver = new HostileDriver(_forwarder, _memory, GuestStart);
        _shadowPages = _forwarder.FreeShadowPages;
    }

    // What OP-TEE finds by a cookie must be pinned, and no address may be the guest's.
    private void CheckParameters(FakeThread thread)
    {
        foreach (ref readonly GuestParameter parameter in thread.Parameters[..(int)thread.MessageHeader[7]])
        {
            switch ((uint)parameter.Attributes & OpTeeMessage.TypeMask)
            {
                case >= OpTeeMessage.TypeRegisteredInput and <= OpTeeMessage.TypeRegisteredInOut:
                    Require(thread.Partition.Find(parameter.C) is { } pages && _memory.ArePinned(pages),
                        "OP-TEE has the memory that a parameter names, and it is pinned");
                    break;
                case >= OpTeeMessage.TypeTemporaryInput and <= OpTeeMessage.TypeTemporaryInOut:
                    Require(parameter is { A: 0, C: 0 }, "OP-TEE gets no address of the guest");
                    break;
                default:
                    break;
            }
        }
    }

    // What a command asks of its guest.
    private IEnumerable<RpcStep> Serve(FakeThread thread)
    {
        CheckParameters(thread);
        uint script = thread.MessageHeader[1];
        ulong cookie = 0;
        for (int step = 0; step < GuestScript.Steps; step++)
        {
            uint what = GuestScript.Step(script, step);
            if (what == GuestScript.End)
            {
                yield break;
            }

            IEnumerable<RpcStep> asked = what switch
            {
                1 => thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut()),
                2 when cookie == 0 => thread.Allocate(5000),
                3 when cookie != 0 => thread.Free(cookie),
                4 when cookie != 0 => thread.Ask(OpTeeRpc.FileSystem, GuestParameter.ValueInOut(3, 4),
                    GuestParameter.RegisteredInOut(0, 16, cookie)),
                4 => thread.Ask(OpTeeRpc.FileSystem, GuestParameter.ValueInOut(3, 4),
                    GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInOut, 0, 0, 0)),
                5 => [RpcStep.ForeignInterrupt],
                6 => thread.Ask(OpTeeRpc.Notification, GuestParameter.ValueIn(OpTeeRpc.NotificationWait, 65)),
                _ => [],
            };
            HashSet<ulong> before = [.. thread.Partition.Memory.Select(memory => memory.Cookie)];
            foreach (RpcStep one in asked)
            {
                yield return one;
            }

            cookie = what switch
            {
                2 when cookie == 0 => thread.Partition.Memory
                    .Find(memory => memory is { IsGuarded: true, Cookie: not 0 } && memory.Cookie != thread.RpcCookie
                        && !before.Contains(memory.Cookie)).Cookie,
                3 => 0,
                _ => cookie,
            };
        }
    }
}
