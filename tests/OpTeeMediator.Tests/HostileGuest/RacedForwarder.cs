using System.Runtime.InteropServices;
using OpTeeMediator.Forwarding;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;
using OpTeeMediator.Tests.Forwarding;

namespace OpTeeMediator.Tests.HostileGuest;

/// <summary><see cref="OpTeeForwarder"/> over memory that races, and an OP-TEE that writes down the messages that it
/// gets.</summary>
internal sealed class RacedForwarder : RacedVm
{
    // What earlier ones have left in it is of no concern: all that is read has been written before.
    [ThreadStatic]
    private static ArrayRam? s_ram;

    private readonly ForwarderBench _bench = new(s_ram ??= ForwarderBench.CreateRam());
    private readonly ForwardedVm _vm;

    public RacedForwarder()
    {
        RacingGuestMemory? memory = null;
        _vm = _bench.Create(wrap: inner => memory = new RacingGuestMemory(inner));
        Memory = memory!;
        Driver = new FakeDriver(_vm.Forwarder, Memory.ForDriver, new(ForwarderBench.GuestStart, 7 << 20));
        _bench.OpTee.OnCall = Record;
        _bench.OpTee.OnInvoke = thread =>
        {
            for (int index = 0; index < thread.MessageHeader[7]; index++)
            {
                GuestParameter parameter = thread.Parameters[index];
                bool isValue = parameter.Attributes <= OpTeeMessage.TypeValueInOut;
                thread.Parameters[index] = isValue ? parameter with { A = 0x1111, B = 0x2222 }
                    : parameter with { B = 5 };
            }

            return [];
        };
    }

    public override RacingGuestMemory Memory { get; }

    public override FakeDriver Driver { get; }

    public override string Status =>
        $"{_vm.Status}, {_vm.Memory.Pins} pins, {_vm.Partition.Sessions.Count} sessions in OP-TEE, "
        + string.Join(", ", _vm.Partition.Memory.Select(one => $"({Hex(one.Pages)})"));

    public override void AskTheGuest() => _bench.OpTee.OnInvoke = Ask;

    public override ValueTask DisposeAsync() => _vm.Forwarder.DisposeAsync();

    private IEnumerable<RpcStep> Ask(FakeThread thread)
    {
        foreach (RpcStep step in thread.Allocate(AllocatedSize))
        {
            yield return step;
        }

        See($"allocated {thread.RpcAnswer:x}, "
            + string.Join(", ", _vm.Partition.Memory.Select(one => $"({Hex(one.Pages)})")));
        foreach (RpcStep step in thread.Ask(OpTeeRpc.FileSystem,
            GuestParameter.ValueInOut(3, 4), GuestParameter.RegisteredOut(0, 100, 6)))
        {
            yield return step;
        }

        See($"answered {thread.RpcAnswer:x} " + string.Join(", ", thread.RpcResults[..2].ToArray()));
        if (_vm.Partition.Memory.Find(one => one.IsGuarded && one.Pages.Length == 2) is { Pages: not null } allocated)
        {
            foreach (RpcStep step in thread.Free(allocated.Cookie))
            {
                yield return step;
            }
        }
    }

    // Pages that are not the VM's own, or may be taken away from it, are none.
    private string DescribeList(GuestParameter parameter)
    {
        ulong[] pages = _bench.OpTee.ReadPageList(parameter.A, parameter.B);
        return _vm.Memory.ArePinned(pages) ? Hex(pages) : Unreadable;
    }

    private void Record(SmcRegisters registers)
    {
        if (registers.FunctionId.Value is not (OpTeeSmc.CallWithArgument or OpTeeSmc.CallWithRpcArgument))
        {
            return;
        }

        Span<byte> message = _bench.Ram.At(registers.Pair(1, 2), OpTeeMessage.PageSize);
        ReadOnlySpan<uint> header = MemoryMarshal.Cast<byte, uint>(message[..OpTeeMessage.HeaderSize]);
        ReadOnlySpan<GuestParameter> parameters =
            MemoryMarshal.Cast<byte, GuestParameter>(message[OpTeeMessage.HeaderSize..])[..(int)header[7]];
        See($"message {Hex(header[..5].ToArray().Select(word => (ulong)word))}");
        foreach (GuestParameter parameter in parameters)
        {
            See((parameter.Attributes & OpTeeMessage.AttributeNonContiguous) == 0
                ? parameter.ToString() : $"list {DescribeList(parameter)} {parameter.B:x}");
        }
    }
}
