using System.Runtime.InteropServices;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;
using OpTeeMediator.Testing.Traces;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>Makes the recorded guest's calls, and notes where it got something else than then.</summary>
internal sealed class RecordedGuest(ISmcHandler handler, PartitionedMemory memory)
{
    private readonly Stack<(ulong Address, ulong Resume)> _calls = new();
    private ulong _rpcMessage;

    public List<string> Differences { get; } = [];

    public void Replay(TraceCall call)
    {
        SmcRegisters registers = default;
        ulong message = call.Message?.Address ?? 0;
        switch (call.Name)
        {
            case "CALL_WITH_ARG":
                Write(call, message);
                registers.X0 = OpTeeSmc.CallWithArgument;
                registers.X1 = message >> 32;
                registers.X2 = (uint)message;
                break;

            case "RETURN_FROM_RPC":
                (message, ulong resume) = _calls.Pop();
                registers.X0 = OpTeeSmc.ReturnFromRpc;
                call.Arguments.CopyTo(registers[1..]);
                registers.X3 = resume;
                if (call.Answer is null)
                {
                    _rpcMessage = registers.Pair(1, 2);
                }
                else
                {
                    Write(call, _rpcMessage);
                }

                break;

            default:
                registers.X0 = call.Exchange!.Made[0];
                registers.X1 = call.Exchange!.Made[1];
                break;
        }

        _ = handler.Handle(ref registers);
        Check(call, message, registers);
    }

    private void Check(TraceCall call, ulong message, SmcRegisters registers)
    {
        ulong[] returned = call.Asked?.Registers ?? call.Results;
        for (int index = 0; index < returned.Length; index++)
        {
            // Results are W registers; the mediator of the recording handed over what OP-TEE had left above them.
            ulong expected = index <= 3 ? (uint)returned[index] : returned[index];
            if (registers[index] != expected)
            {
                Differences.Add($"line {call.Line}: X{index} is {registers[index]:x} instead of {expected:x}");
            }
        }

        bool isSuspended = (registers.X0 & 0xffff_0000) == 0xffff_0000;
        if (call.Name is "CALL_WITH_ARG" or "RETURN_FROM_RPC" && isSuspended)
        {
            _calls.Push((message, registers.X3));
        }

        if (call.Done is { } done)
        {
            CheckMessage(call, done, message);
        }
        else if (call.Asked?.Message is { } asked)
        {
            CheckMessage(call, asked, _rpcMessage);
        }
    }

    private void CheckMessage(TraceCall call, TraceMessage expected, ulong address)
    {
        byte[] bytes = new byte[OpTeeMessage.Size(expected.Parameters.Count)];
        _ = memory.TryRead(address, bytes);
        uint[] header = MemoryMarshal.Cast<byte, uint>(bytes.AsSpan(0, OpTeeMessage.HeaderSize)).ToArray();
        GuestParameter[] parameters =
            MemoryMarshal.Cast<byte, GuestParameter>(bytes.AsSpan(OpTeeMessage.HeaderSize)).ToArray();
        if (!header.SequenceEqual(expected.Header) || !parameters.SequenceEqual(expected.Parameters))
        {
            string found = $"{string.Join(' ', header)}: {string.Join(' ', parameters)}";
            Differences.Add($"line {call.Line}: the guest sees {found} instead of {expected}");
        }
    }

    private void Write(TraceCall call, ulong address)
    {
        TraceMessage message = (call.Message ?? call.Answer)!;
        _ = memory.TryWrite(address, MemoryMarshal.AsBytes<uint>(message.Header));
        _ = memory.TryWrite(
            address + OpTeeMessage.HeaderSize, MemoryMarshal.AsBytes<GuestParameter>(message.Parameters.ToArray()));
        if (message.Pages is [ulong first])
        {
            GuestParameter list =
                message.Parameters.First(one => (one.Attributes & OpTeeMessage.AttributeNonContiguous) != 0);
            ulong pages = ((list.A % 4096) + list.B + 4095) / 4096;
            ulong[] entries = [.. Enumerable.Range(0, (int)pages).Select(page => first + ((ulong)page * 4096))];
            _ = memory.TryWrite(list.A & ~4095ul, MemoryMarshal.AsBytes<ulong>(entries));
        }
    }
}
