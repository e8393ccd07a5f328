using System.Runtime.InteropServices;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>Makes the recorded guest's calls, and notes where it got something else than then.</summary>
internal sealed class RecordedGuest(ISmcHandler handler, PartitionedMemory memory)
{
    private readonly Stack<(ulong Address, ulong Resume)> _calls = new();
    private ulong _rpcMessage;

    public List<string> Differences { get; } = [];

    public void Replay(RecordedExchange exchange)
    {
        SmcRegisters registers = default;
        ulong message = exchange.MessageAddress;
        switch (exchange.Name)
        {
            case "CALL_WITH_ARG":
                Write(exchange, message);
                registers.X0 = OpTeeSmc.CallWithArgument;
                registers.X1 = message >> 32;
                registers.X2 = (uint)message;
                break;

            case "RETURN_FROM_RPC":
                (message, ulong resume) = _calls.Pop();
                registers.X0 = OpTeeSmc.ReturnFromRpc;
                exchange.Arguments.CopyTo(registers[1..]);
                registers.X3 = resume;
                if (exchange.Guest is null)
                {
                    _rpcMessage = registers.Pair(1, 2);
                }
                else
                {
                    Write(exchange, _rpcMessage);
                }

                break;

            default:
                registers.X0 = exchange.Made[0];
                registers.X1 = exchange.Made[1];
                break;
        }

        _ = handler.Handle(ref registers);
        Check(exchange, message, registers);
    }

    private void Check(RecordedExchange exchange, ulong message, SmcRegisters registers)
    {
        for (int index = 0; index < exchange.Returned.Length; index++)
        {
            // Results are W registers; the mediator of the recording handed over what OP-TEE had left above them.
            ulong expected = index <= 3 ? (uint)exchange.Returned[index] : exchange.Returned[index];
            if (registers[index] != expected)
            {
                Differences.Add($"line {exchange.Line}: X{index} is {registers[index]:x} instead of {expected:x}");
            }
        }

        bool isSuspended = (registers.X0 & 0xffff_0000) == 0xffff_0000;
        if (exchange.Name is "CALL_WITH_ARG" or "RETURN_FROM_RPC" && isSuspended)
        {
            _calls.Push((message, registers.X3));
        }

        if (exchange.Result is { } result)
        {
            CheckMessage(exchange, result, exchange.IsRpc ? _rpcMessage : message);
        }
    }

    private void CheckMessage(RecordedExchange exchange, RecordedMessage expected, ulong address)
    {
        byte[] bytes = new byte[OpTeeMessage.Size(expected.Parameters.Count)];
        _ = memory.TryRead(address, bytes);
        uint[] header = MemoryMarshal.Cast<byte, uint>(bytes.AsSpan(0, OpTeeMessage.HeaderSize)).ToArray();
        GuestParameter[] parameters = MemoryMarshal.Cast<byte, GuestParameter>(bytes.AsSpan(OpTeeMessage.HeaderSize)).ToArray();
        if (!header.SequenceEqual(expected.Header) || !parameters.SequenceEqual(expected.Parameters))
        {
            Differences.Add($"line {exchange.Line}: the guest sees {string.Join(' ', header)}: {string.Join(' ', parameters)} instead of {expected}");
        }
    }

    private void Write(RecordedExchange exchange, ulong address)
    {
        RecordedMessage message = exchange.Guest!;
        _ = memory.TryWrite(address, MemoryMarshal.AsBytes<uint>(message.Header));
        _ = memory.TryWrite(address + OpTeeMessage.HeaderSize, MemoryMarshal.AsBytes<GuestParameter>(message.Parameters.ToArray()));
        if (exchange.FirstPage != 0)
        {
            GuestParameter list = message.Parameters.First(one => (one.Attributes & OpTeeMessage.AttributeNonContiguous) != 0);
            ulong pages = ((list.A % 4096) + list.B + 4095) / 4096;
            ulong[] entries = [.. Enumerable.Range(0, (int)pages).Select(page => exchange.FirstPage + ((ulong)page * 4096))];
            _ = memory.TryWrite(list.A & ~4095ul, MemoryMarshal.AsBytes<ulong>(entries));
        }
    }
}
