using System.Runtime.InteropServices;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Testing.Forwarding;

/// <summary>A thread of <see cref="FakeOpTee"/>: a yielding call from its beginning to its end.</summary>
public sealed class FakeThread(int index)
{
    private const uint GenericError = 0xffff_0000;

    private FakeOpTee _opTee = null!;
    private FakePartition _partition = null!;
    private IEnumerator<RpcStep>? _steps;
    private ulong _rpcMessage;
    private SmcRegisters _resumed;

    public bool IsSuspended => _steps is not null;

    /// <summary>The physical address of the message.</summary>
    public ulong Message { get; private set; }

    /// <summary>The cookie of the RPC message buffer that the thread keeps; <see langword="null"/> if it has
    /// none.</summary>
    public ulong? RpcCookie { get; set; }

    /// <summary>Where that buffer lies.</summary>
    public ulong RpcBuffer { get; private set; }

    /// <summary>The answer of the guest to the last RPC message.</summary>
    public uint RpcAnswer => Header(_rpcMessage)[5];

    /// <summary>The command of the last RPC message, as it is there now.</summary>
    public uint RpcCommand => Header(_rpcMessage)[0];

    public FakePartition Partition => _partition;

    /// <summary>The fields of the message's header: cmd, func, session, cancel_id, pad, ret, ret_origin,
    /// num_params.</summary>
    public Span<uint> MessageHeader => Header(Message);

    public Span<GuestParameter> Parameters => ParametersAt(Message);

    public Span<GuestParameter> RpcResults => ParametersAt(_rpcMessage);

    internal void Begin(FakeOpTee opTee, FakePartition partition, ulong message, bool hasRpcArgument)
    {
        _opTee = opTee;
        _partition = partition;
        Message = message;
        _rpcMessage = hasRpcArgument ? message + (ulong)OpTeeMessage.Size((int)MessageHeader[7]) : 0;
        _steps = Run().GetEnumerator();
    }

    internal void Resume(ref SmcRegisters registers)
    {
        _resumed = registers;
        if (_steps!.MoveNext())
        {
            RpcStep step = _steps.Current;
            registers.X0 = step.Return;
            registers.X1 = step.Return == OpTeeSmc.ReturnRpcAllocate ? step.Value : step.Value >> 32;
            registers.X2 = step.Return == OpTeeSmc.ReturnRpcAllocate ? 0 : (uint)step.Value;
            registers.X3 = (ulong)index;
            return;
        }

        bool isUnknown = MessageHeader[0] > OpTeeMessage.CommandStopAsyncNotification;
        _steps = null;
        registers.X0 = isUnknown ? OpTeeSmc.ReturnBadCommand : OpTeeSmc.ReturnOk;
        registers.X1 = 0;
        registers.X2 = 0;
        registers.X3 = 0xdead_0003; // a leftover
    }

    /// <summary>RPC CMD, after an ALLOC if there is no room for the message.</summary>
    public IEnumerable<RpcStep> Ask(uint command, params GuestParameter[] parameters)
    {
        if (_rpcMessage == 0 && RpcCookie is null)
        {
            yield return new RpcStep(OpTeeSmc.ReturnRpcAllocate, (ulong)OpTeeMessage.Size(4));
            ulong address = _resumed.Pair(1, 2);
            ulong cookie = _resumed.Pair(4, 5);
            if (address % 8 != 0)
            {
                if (cookie != 0)
                {
                    yield return new RpcStep(OpTeeSmc.ReturnRpcFree, cookie);
                }

                yield break;
            }

            RpcBuffer = address;
            RpcCookie = cookie;
            _partition.Memory.Insert(0, (cookie, [address & ~4095ul], true));
        }

        _rpcMessage = _rpcMessage == 0 ? RpcBuffer : _rpcMessage;
        Span<uint> header = Header(_rpcMessage);
        header.Clear();
        header[0] = command;
        header[5] = GenericError;
        header[7] = (uint)parameters.Length;
        parameters.CopyTo(ParametersAt(_rpcMessage));
        yield return new RpcStep(OpTeeSmc.ReturnRpcCommand, _rpcMessage == RpcBuffer ? RpcCookie!.Value : 0);
    }

    /// <summary>SHM_ALLOC: asks for memory, and gives back what is of no use.</summary>
    public IEnumerable<RpcStep> Allocate(ulong size)
    {
        foreach (RpcStep step in Ask(OpTeeRpc.AllocateSharedMemory, GuestParameter.ValueIn(0, size)))
        {
            yield return step;
        }

        if (_rpcMessage == 0 || RpcAnswer != 0)
        {
            yield break;
        }

        GuestParameter given = RpcResults[0];
        if (given.B < size)
        {
            yield break; // and keeps it to itself
        }

        bool isList = given.Attributes == (OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous);
        if (isList || (given.Attributes == OpTeeMessage.TypeTemporaryOutput && given.A % 4096 == 0 && given.B <= 4096))
        {
            _partition.Memory.Insert(0, (given.C, isList ? _opTee.ReadPageList(given.A, given.B) : [given.A], true));
            yield break;
        }

        foreach (RpcStep step in Ask(OpTeeRpc.FreeSharedMemory, GuestParameter.ValueIn(0, given.C)))
        {
            yield return step;
        }
    }

    /// <summary>SHM_FREE: unmaps memory and gives it back.</summary>
    public IEnumerable<RpcStep> Free(ulong cookie)
    {
        _ = _partition.Memory.RemoveAll(one => one.Cookie == cookie && one.IsGuarded);
        return Ask(OpTeeRpc.FreeSharedMemory, GuestParameter.ValueIn(0, cookie));
    }

    private IEnumerable<RpcStep> Run()
    {
        if (_opTee.InterruptsCalls)
        {
            yield return RpcStep.ForeignInterrupt;
        }

        // OP-TEE names the page of the message itself by cookie 0 while it is mapped.
        (ulong, ulong[], bool) itself = (0, [Message], true);
        _partition.Memory.Insert(0, itself);
        bool keepsOrigin = MessageHeader[0]
            is OpTeeMessage.CommandRegisterSharedMemory or OpTeeMessage.CommandUnregisterSharedMemory;
        MessageHeader[6] = keepsOrigin ? MessageHeader[6] : 4u;
        switch (MessageHeader[0])
        {
            case OpTeeMessage.CommandOpenSession:
                MessageHeader[2] = ++_partition.LastSession;
                MessageHeader[5] = 0;
                _ = _partition.Sessions.Add(MessageHeader[2]);
                break;

            case OpTeeMessage.CommandInvoke when _partition.Sessions.Contains(MessageHeader[2]):
                MessageHeader[5] = 0;
                foreach (RpcStep step in _opTee.OnInvoke?.Invoke(this) ?? [])
                {
                    yield return step;
                }

                break;

            case OpTeeMessage.CommandCloseSession:
                MessageHeader[5] = _partition.Sessions.Remove(MessageHeader[2]) ? 0 : FakeOpTee.BadParameters;
                break;

            case OpTeeMessage.CommandRegisterSharedMemory:
                _partition.Memory.Insert(0,
                    (Parameters[0].C, _opTee.ReadPageList(Parameters[0].A, Parameters[0].B), false));
                MessageHeader[5] = 0;
                break;

            case OpTeeMessage.CommandUnregisterSharedMemory:
                ulong cookie = Parameters[0].C;
                int place = _partition.Memory.FindIndex(one => one.Cookie == cookie);
                bool canRelease = place >= 0 && !_partition.Memory[place].IsGuarded;
                if (canRelease)
                {
                    _partition.Memory.RemoveAt(place);
                }

                MessageHeader[5] = canRelease ? 0 : FakeOpTee.BadParameters;
                break;

            case OpTeeMessage.CommandCancel:
            case OpTeeMessage.CommandDoBottomHalf:
            case OpTeeMessage.CommandStopAsyncNotification:
                MessageHeader[5] = 0;
                break;

            default:
                MessageHeader[5] = FakeOpTee.BadParameters;
                break;
        }

        _ = _partition.Memory.Remove(itself);
        if (RpcCookie is { } kept && !_partition.CachesRpcBuffers)
        {
            // It asks first and unmaps then.
            RpcCookie = null;
            yield return new RpcStep(OpTeeSmc.ReturnRpcFree, kept);
            _ = _partition.Memory.RemoveAll(one => one.Cookie == kept && one.IsGuarded);
        }
    }

    private Span<uint> Header(ulong message) =>
        MemoryMarshal.Cast<byte, uint>(_opTee.Ram.At(message, OpTeeMessage.HeaderSize));

    private Span<GuestParameter> ParametersAt(ulong message) =>
        MemoryMarshal.Cast<byte, GuestParameter>(
            _opTee.Ram.At(message + OpTeeMessage.HeaderSize, OpTeeMessage.ParameterSize * 6));
}
