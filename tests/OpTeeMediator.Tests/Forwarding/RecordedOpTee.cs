using System.Runtime.InteropServices;
using OpTeeMediator.Forwarding;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;
using OpTeeMediator.Testing.Traces;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>Answers each SMC as the recording says, and notes where it was asked something else.</summary>
internal sealed class RecordedOpTee(PhysicalRam ram, PartitionedMemory memory) : ISecureMonitor
{
    // Of the probes that a forwarder itself makes: as the same OP-TEE has answered them.
    private const ulong Capabilities = 0xfd;

    // A call that is made while another one is suspended ends before that is resumed.
    private readonly Stack<ulong> _messages = new();
    private ulong _rpcMessage;

    // The forwarder's cookies, by the recorded ones: there the mediator had handed the guest's on.
    private readonly Dictionary<ulong, ulong> _cookies = [];

    /// <summary>The call that is being replayed.</summary>
    public TraceCall? Next { get; set; }

    public List<string> Differences { get; } = [];

    public void MakeCall(ref SmcRegisters registers)
    {
        uint functionId = registers.FunctionId.Value;
        if (registers.X7 == 0)
        {
            AnswerHypervisor(functionId, ref registers);
            return;
        }

        TraceCall call = Next!;
        SmcExchange recorded = call.Exchange!;
        Check(call, "X0", recorded.Made[0], functionId);
        Check(call, "X7", recorded.Made[7], registers.X7);
        if (functionId == OpTeeSmc.CallWithArgument)
        {
            _messages.Push(registers.Pair(1, 2));
            CheckMessage(call, call.Shadow!, _messages.Peek());
        }
        else if (functionId == OpTeeSmc.ReturnFromRpc)
        {
            Check(call, "X3", recorded.Made[3], registers.X3);
            if (call.Answer is null)
            {
                _rpcMessage = registers.Pair(1, 2);
                CheckCookie(call, (recorded.Made[4] << 32) | recorded.Made[5], registers.Pair(4, 5));
            }
            else
            {
                CheckMessage(call, call.Answer, _rpcMessage);
            }
        }

        if (call.Done is { } done)
        {
            Write(done, _messages.Pop(), isRpc: false);
        }
        else if (call.Asked?.Message is { } asked)
        {
            Write(asked, _rpcMessage, isRpc: true);
        }

        recorded.Answered.CopyTo(registers[..8]);
        bool hasCookie = (uint)registers.X0 is OpTeeSmc.ReturnRpcCommand or OpTeeSmc.ReturnRpcFree
            || (functionId == OpTeeSmc.DisableShmCache && registers.X0 == OpTeeSmc.ReturnOk);
        if (hasCookie)
        {
            ulong cookie = _cookies.GetValueOrDefault(registers.Pair(1, 2));
            registers.X1 = cookie >> 32;
            registers.X2 = (uint)cookie;
        }
    }

    private static void AnswerHypervisor(uint functionId, ref SmcRegisters registers)
    {
        ReadOnlySpan<ulong> answer = functionId switch
        {
            OpTeeSmc.CallsUid => [0x384f_b3e0, 0xe7f8_11e3, 0xaf63_0002, 0xa5d5_c51b],
            OpTeeSmc.ExchangeCapabilities => [0, Capabilities, 0x42, 4],
            OpTeeSmc.GetThreadCount => [0, 2],
            _ => [0],
        };
        answer.CopyTo(registers[..]);
    }

    /// <summary>Compares a message with what lies in memory; addresses are those of this computer.</summary>
    private void CheckMessage(TraceCall call, TraceMessage expected, ulong address)
    {
        uint[] header = MemoryMarshal.Cast<byte, uint>(ram.At(address, OpTeeMessage.HeaderSize)).ToArray();
        GuestParameter[] parameters = ParametersAt(address, expected).ToArray();
        if (!header.SequenceEqual(expected.Header))
        {
            Differences.Add($"line {call.Line}: OP-TEE sees {string.Join(' ', header)} instead of {expected}");
        }

        for (int index = 0; index < parameters.Length; index++)
        {
            GuestParameter wanted = expected.Parameters[index];
            if (wanted.Attributes == (OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous))
            {
                ulong page = MemoryMarshal.Read<ulong>(ram.At(parameters[index].A & ~4095ul, sizeof(ulong)));
                Check(call, "page", memory.PhysicalOf((call.Message ?? call.Answer)!.Pages[0]), page);
                Check(call, "offset", wanted.A % 4096, parameters[index].A % 4096);
                wanted = wanted with { A = parameters[index].A };
            }

            if (HasCookie(wanted))
            {
                CheckCookie(call, wanted.C, parameters[index].C);
                wanted = wanted with { C = parameters[index].C };
            }

            if (expected.Header[0] == OpTeeRpc.FreeSharedMemory && call.Name == "RETURN_FROM_RPC")
            {
                CheckCookie(call, wanted.B, parameters[index].B);
                wanted = wanted with { B = parameters[index].B };
            }

            if (parameters[index] != wanted)
            {
                Differences.Add($"line {call.Line}: OP-TEE sees {parameters[index]} instead of {wanted}");
            }
        }
    }

    private void Write(TraceMessage message, ulong address, bool isRpc)
    {
        message.Header.CopyTo(MemoryMarshal.Cast<byte, uint>(ram.At(address, OpTeeMessage.HeaderSize)));
        Span<GuestParameter> parameters = ParametersAt(address, message);
        for (int index = 0; index < message.Parameters.Count; index++)
        {
            // OP-TEE leaves its own page list's address where it is.
            bool keeps = !isRpc && (message.Parameters[index].Attributes & OpTeeMessage.AttributeNonContiguous) != 0;
            GuestParameter written = keeps ? parameters[index] : message.Parameters[index];
            if (!keeps && HasCookie(written))
            {
                written = written with { C = _cookies.GetValueOrDefault(written.C) };
            }

            bool isFreed = isRpc && message.Header[0] == OpTeeRpc.FreeSharedMemory;
            parameters[index] = isFreed ? written with { B = _cookies.GetValueOrDefault(written.B) } : written;
        }
    }

    private Span<GuestParameter> ParametersAt(ulong message, TraceMessage recorded) =>
        MemoryMarshal.Cast<byte, GuestParameter>(ram.At(
            message + OpTeeMessage.HeaderSize, recorded.Parameters.Count * OpTeeMessage.ParameterSize));

    private static bool HasCookie(GuestParameter parameter) =>
        (uint)parameter.Attributes % (OpTeeMessage.TypeMask + 1)
            is >= OpTeeMessage.TypeRegisteredInput and <= OpTeeMessage.TypeTemporaryInOut;

    /// <summary>
    /// A cookie of the guest has one cookie of the forwarder, and another after the guest has registered it again.
    /// </summary>
    private void CheckCookie(TraceCall call, ulong recorded, ulong found)
    {
        bool isNew = call.Name == "RETURN_FROM_RPC"
            ? call.Answer is null || call.Answer.Header[0] == OpTeeRpc.AllocateSharedMemory
            : call.Shadow?.Header[0] == OpTeeMessage.CommandRegisterSharedMemory;
        if (isNew && recorded != 0)
        {
            Check(call, "use of an earlier cookie", 0, _cookies.ContainsValue(found) ? found : 0);
            _cookies[recorded] = found;
        }

        Check(call, "cookie", _cookies.GetValueOrDefault(recorded), found);
    }

    private void Check(TraceCall call, string what, ulong expected, ulong found)
    {
        if (expected != found)
        {
            Differences.Add($"line {call.Line}: OP-TEE's {what} is {found:x} instead of {expected:x}");
        }
    }
}
