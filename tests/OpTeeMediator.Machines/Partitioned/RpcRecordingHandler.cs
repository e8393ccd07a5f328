using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Collections.Immutable;
using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Machines.Partitioned;

/// <summary>Records the RPC commands that a guest with one CPU is sent, and what it answers.</summary>
/// <param name="inner">Who answers the guest.</param>
/// <param name="memory">The guest's memory.</param>
/// <remarks>For a driver without OPTEE_SMC_SEC_CAP_RPC_ARG, whose RPC messages are in memory from an RPC ALLOC. The
/// recorded commands may be read by any thread.</remarks>
public sealed class RpcRecordingHandler(ISmcHandler inner, IGuestMemory memory) : ISmcHandler, IAsyncDisposable
{
    private const int CommandOffset = 0;
    private const int ReturnCodeOffset = 20;

    private readonly ConcurrentQueue<RecordedRpc> _commands = new();
    private readonly Dictionary<ulong, GuestAddress> _messages = [];
    private ulong _exit;
    private ulong _cookie;
    private uint _command;

    public ISmcHandler Inner => inner;

    /// <summary>The commands so far that the guest has answered.</summary>
    public IReadOnlyCollection<RecordedRpc> Commands => _commands;

    public ImmutableArray<SmcFunctionRange> Ranges => inner.Ranges;

    public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded)
    {
        if (registers.FunctionId.Value == OpTeeSmc.ReturnFromRpc)
        {
            RecordAnswer(in registers);
        }

        SmcOutcome outcome = inner.Handle(ref registers, loaded);
        _exit = (uint)registers.X0;
        _cookie = registers.Pair(1, 2);
        if (_exit == OpTeeSmc.ReturnRpcCommand)
        {
            _command = ReadNumber(CommandOffset);
        }

        return outcome;
    }

    public ValueTask DisposeAsync() =>
        inner is IAsyncDisposable disposable ? disposable.DisposeAsync() : ValueTask.CompletedTask;

    private void RecordAnswer(in SmcRegisters registers)
    {
        if (_exit == OpTeeSmc.ReturnRpcAllocate)
        {
            _messages[registers.Pair(4, 5)] = registers.Pair(1, 2);
        }
        else if (_exit == OpTeeSmc.ReturnRpcCommand)
        {
            _commands.Enqueue(new RecordedRpc(_command, (TeeReturnCode)ReadNumber(ReturnCodeOffset)));
        }
    }

    private uint ReadNumber(int offset)
    {
        Span<byte> bytes = stackalloc byte[sizeof(uint)];
        return _messages.TryGetValue(_cookie, out GuestAddress message)
            && memory.TryRead(message.Value + (ulong)offset, bytes)
            ? BinaryPrimitives.ReadUInt32LittleEndian(bytes)
            : throw new InvalidOperationException(
                $"The RPC message with cookie 0x{_cookie:x} is not where the guest allocated it.");
    }
}
