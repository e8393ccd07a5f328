using System.Globalization;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Replay;

/// <summary>Makes the recorded calls again: messages and page lists where they were, in the recorded order; compares the answers.</summary>
internal sealed class Replayer : IAsyncDisposable
{
    // ASYNC_NOTIF, which the recorded TEE offered in one variant, comes with a later issue.
    private const ulong AsynchronousNotifications = 0x20;

    private static readonly string[] NotificationCalls = ["ENABLE_ASYNC_NOTIF", "GET_ASYNC_NOTIF_VALUE"];

    private readonly MemfdGuestMemory _memory;
    private readonly ModelTee _tee;
    private readonly OpTeeGuest _guest;
    private readonly FakeDriver _driver;
    private readonly List<uint> _sessions = [];
    private readonly Dictionary<ulong, TraceCall> _registrations = [];
    private readonly List<string> _differences = [];

    public Replayer(OpTeeCapabilities capabilities, bool enumerates)
    {
        // The machine of the recording had its RAM there; untouched pages cost nothing.
        GuestRange ram = new(0x4000_0000, 256 << 20);
        _memory = MemfdGuestMemory.Create(ram);
        _tee = new ModelTee(enumerates);
        _guest = new OpTeeGuest(_memory, _tee.Backend, new OpTeeGuestOptions
        {
            Capabilities = capabilities,
            Revision = new OpTeeRevision(4, 5, 0xabcd_ef12),
            Limits = new OpTeeLimits { Calls = 2 },
        });
        _driver = new FakeDriver(_guest, _memory, ram);
    }

    public int Replayed { get; private set; }

    public int LeftOut { get; private set; }

    public IReadOnlyList<string> Differences => _differences;

    public OpTeeGuestStatus Status => _guest.Status;

    public void Replay(IEnumerable<TraceCall> calls)
    {
        foreach (TraceCall call in calls)
        {
            if (IsLeftOut(call))
            {
                LeftOut++;
            }
            else
            {
                Replayed++;
                Replay(call);
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _guest.DisposeAsync();
        _memory.Dispose();
    }

    // A cached buffer that DISABLE_SHM_CACHE gives back is one that an RPC has allocated.
    private static bool IsLeftOut(TraceCall call) =>
        call.MakesRpc
        || NotificationCalls.Contains(call.Name)
        || (call.Name == "DISABLE_SHM_CACHE" && call.Results[0] == 0)
        || (call.HasMessage && call.Command > OpTeeMessage.CommandUnregisterSharedMemory);

    private void Replay(TraceCall call)
    {
        if (call.HasMessage)
        {
            ReplayMessage(call);
            return;
        }

        SmcRegisters registers = _driver.Call(call.FunctionId, call.Arguments);
        ulong[] expected = call.Name == "EXCHANGE_CAPABILITIES"
            ? [call.Results[0], call.Results[1] & ~AsynchronousNotifications, 0, call.Results[3]]
            : call.Results;
        Compare(call, "x0 to x3", Text(expected), Text(registers[..expected.Length].ToArray()));
    }

    private void ReplayMessage(TraceCall call)
    {
        Prepare(call);
        _tee.FirstBytes.Clear();
        SmcRegisters registers = _driver.Call(Identifier(call), call.Arguments);
        GuestMessage answer = _driver.ReadMessage(call.MessageAddress, call.Parameters.Count);

        Compare(call, "x0", Text(call.Results), Text([registers.X0]));
        Compare(call, "ret", Text([ExpectedCode(call)]), Text([answer.ReturnCode]));
        if (call.Seen is { } seen)
        {
            Compare(call, "what the client saw", $"{seen}", $"{(answer.ReturnCode, answer.ReturnOrigin)}");
        }

        switch (call.Command)
        {
            case OpTeeMessage.CommandOpenSession when answer.ReturnCode == 0:
                _sessions.Add(answer.Session);
                break;

            case OpTeeMessage.CommandRegisterSharedMemory:
                _registrations[call.Parameters[0].C] = call;
                break;

            case OpTeeMessage.CommandInvoke:
                CompareOutputs(call, answer);
                break;

            default:
                break;
        }
    }

    private void Prepare(TraceCall call)
    {
        if (call.Pages.Length > 0)
        {
            _driver.Write<ulong>(call.Parameters[0].A & ~0xffful, call.Pages);
        }

        // What the recorded TEE found there was written by a program in the guest.
        foreach ((int index, byte first) in call.FirstBytes)
        {
            _driver.Write<byte>(AddressOf(call.Parameters[index], 0), [first]);
        }

        // The recorded TEE numbered its sessions from 1 on; those of calls that are left out had none.
        uint session = call.Header["session"];
        _driver.WriteMessage(call.MessageAddress, new GuestMessage(call.Command, [.. call.Parameters])
        {
            Function = call.Header["func"],
            Session = session == 0 ? 0 : _sessions[(int)session - 1],
            CancelId = call.Header["cancel_id"],
        });
    }

    private void CompareOutputs(TraceCall call, GuestMessage answer)
    {
        bool isEnumeration = _tee.FirstBytes.Count == 0 && call.Parameters[0].Attributes is OpTeeMessage.TypeTemporaryOutput or OpTeeMessage.TypeRegisteredOutput;
        for (int index = 0; index < call.Parameters.Count; index++)
        {
            GuestParameter sent = call.Parameters[index];
            GuestParameter got = answer.Parameters[index];
            GuestParameter expected = sent.Attributes switch
            {
                OpTeeMessage.TypeValueOutput or OpTeeMessage.TypeValueInOut => sent with { A = sent.A + 1, B = sent.B + 1 },
                _ when isEnumeration && index == 0 => sent with { B = call.Header["func"] == 0 ? 16u : 0u },
                _ => sent,
            };
            Compare(call, $"parameter {index}", $"{expected}", $"{got}");
            if (call.FirstBytes.TryGetValue(index, out byte first))
            {
                Compare(call, $"first byte of parameter {index}", $"{first}", $"{_tee.FirstBytes.GetValueOrDefault(index)}");
                Compare(call, $"ends of parameter {index}", "XY", Ends(sent));
            }
        }
    }

    private uint ExpectedCode(TraceCall call)
    {
        const ulong Enumeration = 0x5340_dedd_88a6_1170;
        bool isEnumeration = call.Command == OpTeeMessage.CommandOpenSession && call.Parameters[0].A == Enumeration;
        bool isSizeQuery = call.Command == OpTeeMessage.CommandInvoke && call.Parameters[0].Attributes == OpTeeMessage.TypeTemporaryOutput;
        return isEnumeration && _tee.Backend.Devices is null
            ? (uint)TeeReturnCode.ItemNotFound
            : isSizeQuery && call.Header["func"] == 0 ? (uint)TeeReturnCode.ShortBuffer : 0;
    }

    private static uint Identifier(TraceCall call) => call.Name switch
    {
        "CALL_WITH_ARG" => OpTeeSmc.CallWithArgument,
        "CALL_WITH_RPC_ARG" => OpTeeSmc.CallWithRpcArgument,
        _ => OpTeeSmc.CallWithRegisteredArgument,
    };

    private ulong AddressOf(GuestParameter reference, ulong offset)
    {
        TraceCall registration = _registrations[reference.C];
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

    private static string Text(IEnumerable<ulong> values) => string.Join(' ', values.Select(value => value.ToString("x", CultureInfo.InvariantCulture)));
}
