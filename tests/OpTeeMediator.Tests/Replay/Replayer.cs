using System.Globalization;
using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Calls;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Traces;
using OpTeeMediator.Tests.Rpc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Replay;

/// <summary>Makes the recorded calls again: messages, page lists and RPC answers where they were, in the recorded
/// order; compares what comes back.</summary>
/// <remarks>Sessions, resume information and the number of notifications are the mediator's own.</remarks>
internal sealed class Replayer : IAsyncDisposable
{
    private const int ResumeArgument = 2;

    private readonly MemfdGuestMemory _memory;
    private readonly ModelTee _tee;
    private readonly CountingLine _line = new();
    private readonly OpTeeGuest _guest;
    private readonly FakeDriver _driver;
    private readonly List<uint> _sessions = [];
    private readonly Dictionary<ulong, TraceMessage> _registrations = [];
    private readonly Dictionary<ulong, (TraceCall Call, TraceRequest Asked, ulong ResumeInformation)> _suspended = [];
    private readonly List<string> _differences = [];

    public Replayer(OpTeeCapabilities capabilities, bool notifies, ModelTee tee)
    {
        // The machine of the recording had its RAM there; untouched pages cost nothing.
        GuestRange ram = new(0x4000_0000, 256 << 20);
        _memory = MemfdGuestMemory.Create(ram);
        _tee = tee;
        _guest = new OpTeeGuest(_memory, _tee.Backend, new OpTeeGuestOptions
        {
            Capabilities = capabilities,
            NotificationInterrupt = notifies ? _line : null,
            Revision = new OpTeeRevision(4, 5, 0xabcd_ef12),
            Limits = new OpTeeLimits { Calls = 2 },

            // The recorded TEE did not sleep.
            SleepAfter = TimeSpan.FromMinutes(1),
        });
        _driver = new FakeDriver(_guest, _memory, ram);
    }

    public IReadOnlyList<string> Differences => _differences;

    /// <summary>How many calls wait for the guest.</summary>
    public int Suspended => _suspended.Count;

    public OpTeeGuestStatus Status => _guest.Status;

    public void Replay(IReadOnlyList<TraceCall> calls)
    {
        for (int index = 0; index < calls.Count; index++)
        {
            TraceCall call = calls[index];
            if (call.Message is not null)
            {
                _tee.Requests = RequestsOf(calls, index);
                ReplayStart(call, call.Message);
            }
            else if (call.IsReturn)
            {
                ReplayReturn(call);
            }
            else
            {
                ReplayFastCall(call);
            }

            if (call.Interrupts)
            {
                Notify(calls.Skip(index + 1));
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _guest.DisposeAsync();
        _memory.Dispose();
    }

    /// <summary>What the TEE asks of the guest in the course of a call, until it ends.</summary>
    private static List<TraceMessage> RequestsOf(IReadOnlyList<TraceCall> calls, int start)
    {
        List<TraceMessage> requests = [];
        for (int index = start; calls[index].Asked is { } asked;)
        {
            if (asked.Message is not null)
            {
                requests.Add(asked.Message);
            }

            do
            {
                index++;
            }
            while (!calls[index].IsReturn || calls[index].Arguments[ResumeArgument] != asked.Thread);
        }

        return requests;
    }

    private void ReplayFastCall(TraceCall call)
    {
        SmcRegisters registers = _driver.Call(call.FunctionId, call.Arguments);
        ulong[] expected = [.. call.Results];
        if (call.Name == "EXCHANGE_CAPABILITIES" && expected[2] != 0)
        {
            expected[2] = NotificationQueue.HighestValue;
        }

        Compare(call, "x0 to x3", Text(expected), Text(registers[..expected.Length].ToArray()));
    }

    private void ReplayStart(TraceCall call, TraceMessage message)
    {
        Prepare(call, message);
        _tee.FirstBytes.Clear();
        CompareReturn(call, call, Uninterrupted(_driver.Call(Identifier(call), call.Arguments)));
    }

    /// <summary>Writes what the guest answered to where it was asked, and resumes the call.</summary>
    private void ReplayReturn(TraceCall call)
    {
        _ = _suspended.Remove(call.Arguments[ResumeArgument],
            out (TraceCall Call, TraceRequest Asked, ulong ResumeInformation) suspended);
        if (call.Answer is { } answer)
        {
            WritePages(answer);
            _driver.WriteMessage(suspended.Asked.Message!.Address, answer.Content);
        }

        ulong[] arguments = [.. call.Arguments];
        arguments[ResumeArgument] = suspended.ResumeInformation;
        CompareReturn(call, suspended.Call, Uninterrupted(_driver.Call(OpTeeSmc.ReturnFromRpc, arguments)));
    }

    /// <summary>Resumes a call as long as it is interrupted, as the recorded TEE was not.</summary>
    private SmcRegisters Uninterrupted(SmcRegisters registers)
    {
        while (registers.X0 == OpTeeSmc.ReturnRpcForeignInterrupt)
        {
            registers = _driver.Step(registers);
        }

        return registers;
    }

    /// <summary>Compares what an SMC came back with: the end of its call, or what the guest is asked.</summary>
    private void CompareReturn(TraceCall call, TraceCall started, in SmcRegisters registers)
    {
        if (call.Asked is { } asked)
        {
            CompareRequest(call, asked, registers);
            _suspended.Add(asked.Thread, (started, asked, registers.X3));
        }
        else
        {
            Compare(call, "x0", Text(call.Results), Text([registers.X0]));
            CompareEnd(started, started.Message!);
        }
    }

    private void CompareRequest(TraceCall call, TraceRequest asked, in SmcRegisters registers)
    {
        if (asked.Message is not { } message)
        {
            // The recorded TEE asked for a whole page. The real OP-TEE asks for what a message of four parameters
            // takes, as this mediator does.
            Compare(call, "x0 and x1", Text([asked.Registers[0], (ulong)OpTeeMessage.Size(4)]),
                Text([registers.X0, registers.X1]));
            return;
        }

        // The recorded TEE left the alignment at 0. The real OP-TEE asks for 8, as this mediator does.
        GuestMessage expected = message.Command == OpTeeRpc.AllocateSharedMemory
            ? message.Content with { Parameters = [message.Parameters[0] with { C = 8 }] }
            : message.Content;
        uint[] count = new uint[1];
        _driver.Read(message.Address + OpTeeMessage.HeaderSize - sizeof(uint), count.AsSpan());
        Compare(call, "x0 to x2", Text(asked.Registers), Text(registers[..3].ToArray()));
        Compare(call, "parameters of what is asked", $"{expected.Parameters.Length}", $"{count[0]}");
        Compare(call, "what is asked", Text(expected),
            Text(_driver.ReadMessage(message.Address, expected.Parameters.Length)));
    }

    private void CompareEnd(TraceCall call, TraceMessage message)
    {
        GuestMessage answer = _driver.ReadMessage(message.Address, message.Parameters.Count);
        Compare(call, "ret", Text([ExpectedCode(call, message)]), Text([answer.ReturnCode]));
        if (call.Seen is { } seen)
        {
            Compare(call, "what the client saw", $"{seen}", $"{(answer.ReturnCode, answer.ReturnOrigin)}");
        }

        switch (message.Command)
        {
            case OpTeeMessage.CommandOpenSession when answer.ReturnCode == 0:
                _sessions.Add(answer.Session);
                break;

            case OpTeeMessage.CommandRegisterSharedMemory:
                _registrations[message.Parameters[0].C] = message;
                break;

            case OpTeeMessage.CommandInvoke:
                CompareOutputs(call, message, answer);
                break;

            default:
                break;
        }
    }

    private void Prepare(TraceCall call, TraceMessage message)
    {
        WritePages(message);

        // What the recorded TEE found there was written by a program in the guest.
        foreach ((int index, byte first) in call.FirstBytes)
        {
            _driver.Write<byte>(AddressOf(message.Parameters[index], 0), [first]);
        }

        // The recorded TEE numbered its sessions from 1 on.
        uint session = message.Session;
        _driver.WriteMessage(message.Address, message.Content with
        {
            Session = session == 0 ? 0 : _sessions[(int)session - 1],
            ReturnCode = GuestMessage.Untouched,
            ReturnOrigin = GuestMessage.Untouched,
        });
    }

    private void WritePages(TraceMessage message)
    {
        if (message.Pages.Length > 0)
        {
            _driver.Write<ulong>(message.Parameters[0].A & ~0xffful, message.Pages);
        }
    }

    /// <summary>Posts the notifications that the guest is going to fetch; the driver must
    /// have been interrupted.</summary>
    private void Notify(IEnumerable<TraceCall> following)
    {
        int before = _line.Pulses;
        foreach (TraceCall call in following.TakeWhile(call => call.Name == "GET_ASYNC_NOTIF_VALUE"))
        {
            CallsOf(_guest).Notifications.Post((uint)call.Results[1]);
        }

        if (_line.Pulses == before)
        {
            _differences.Add("The guest should have been interrupted.");
        }
    }

    // Why the recorded TEE notified its guest the trace does not say: the numbers have to be put into the queue.
    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_calls")]
    private static extern ref readonly YieldingCalls CallsOf(OpTeeGuest guest);

    private void CompareOutputs(TraceCall call, TraceMessage message, GuestMessage answer)
    {
        bool isEnumeration = _tee.FirstBytes.Count == 0 && message.Parameters[
            0].Attributes is OpTeeMessage.TypeTemporaryOutput or OpTeeMessage.TypeRegisteredOutput;
        for (int index = 0; index < message.Parameters.Count; index++)
        {
            GuestParameter sent = message.Parameters[index];
            GuestParameter got = answer.Parameters[index];
            GuestParameter expected = sent.Attributes switch
            {
                OpTeeMessage.TypeValueOutput or OpTeeMessage.TypeValueInOut =>
                    sent with { A = sent.A + 1, B = sent.B + 1 },
                _ when isEnumeration && index == 0 => sent with { B = message.Function == 0 ? 16u : 0u },
                _ => sent,
            };
            Compare(call, $"parameter {index}", $"{expected}", $"{got}");
            if (call.FirstBytes.TryGetValue(index, out byte first))
            {
                Compare(call, $"first byte of parameter {index}", $"{first}",
                    $"{_tee.FirstBytes.GetValueOrDefault(index)}");
                Compare(call, $"ends of parameter {index}", "XY", Ends(sent));
            }
        }
    }

    /// <summary>The trace has the codes of messages only where a program shows them.</summary>
    private uint ExpectedCode(TraceCall call, TraceMessage message)
    {
        const ulong Enumeration = 0x5340_dedd_88a6_1170;
        switch (message.Command)
        {
            case OpTeeMessage.CommandDoBottomHalf or OpTeeMessage.CommandStopAsyncNotification:
                // As the real OP-TEE: these have no result.
                return GuestMessage.Untouched;

            case OpTeeMessage.CommandOpenSession when message.Parameters[0].A == Enumeration
                && _tee.Backend.Devices is null:
                return (uint)TeeReturnCode.ItemNotFound;

            case OpTeeMessage.CommandInvoke when message.Parameters[0].Attributes == OpTeeMessage.TypeTemporaryOutput
                && message.Function == 0:
                return (uint)TeeReturnCode.ShortBuffer;

            default:
                return call.Seen?.Code ?? 0;
        }
    }

    private static uint Identifier(TraceCall call) => call.Name switch
    {
        "CALL_WITH_ARG" => OpTeeSmc.CallWithArgument,
        "CALL_WITH_RPC_ARG" => OpTeeSmc.CallWithRpcArgument,
        _ => OpTeeSmc.CallWithRegisteredArgument,
    };

    private ulong AddressOf(GuestParameter reference, ulong offset)
    {
        TraceMessage registration = _registrations[reference.C];
        ulong position = (registration.Parameters[0].A & 0xfff) + reference.A + offset;
        return registration.Pages[position / 0x1000] + (position % 0x1000);
    }

    private string Ends(GuestParameter reference)
    {
        byte[] ends = new byte[2];
        _driver.Read(AddressOf(reference, 0), ends.AsSpan(0, 1));
        _driver.Read(AddressOf(reference, reference.B - 1), ends.AsSpan(1));
        return System.Text.Encoding.ASCII.GetString(ends);
    }

    private void Compare(TraceCall call, string what, string expected, string found)
    {
        if (expected != found)
        {
            _differences.Add($"line {call.Line}, {call.Name}: {what} should be {expected} and is {found}");
        }
    }

    private static string Text(IEnumerable<ulong> values) =>
        string.Join(' ', values.Select(value => value.ToString("x", CultureInfo.InvariantCulture)));

    private static string Text(GuestMessage message) =>
        $"{message.Command} {message.Function} {message.Session} {message.CancelId} 0x{message.ReturnCode:x} "
        + $"{message.ReturnOrigin} ({string.Join(", ", message.Parameters)})";
}
