using System.Text.Json;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Diagnostics;

/// <summary>The file of a trace, record by record.</summary>
internal sealed class TraceTests
{
    [TestCase(TeeExecution.Inline)]
    [TestCase(TeeExecution.Worker)]
    public async Task Trace_CallWithAnRpc_FollowsItFromSmcToResult(TeeExecution execution)
    {
        using MemoryStream file = new();
        using (OpTeeTrace trace = new(file))
        {
            await using GuestBench bench = new(
                new OpTeeGuestOptions { Name = "tiny \"vm\"", Trace = trace, Quantum = TimeSpan.FromSeconds(1) },
                new ScriptedBackend { Execution = execution });
            bench.Driver.OnRpc = new RpcServices(bench.Driver).Serve;
            uint session = bench.Open();
            bench.Backend.OnInvoke = async request =>
            {
                _ = await request.Guest!.GetTimeAsync();
                return TeeResult.FromTee(TeeReturnCode.Busy);
            };
            _ = bench.Driver.Invoke(session, 0);
        }

        JsonElement[] records = Read(file);
        JsonElement call = records.Single(record => IsSpan(record, "INVOKE_COMMAND", "call in slot", records));
        long number = CallOf(call);
        JsonElement[] smcs = [.. records.Where(record => Track(record, records) != "call in slot"
            && Track(record, records) != "TEE for slot" && record.GetProperty("ph").GetString() == "X"
            && CallOf(record) == number)];
        JsonElement[] work = [.. records.Where(record =>
            IsSpan(record, "INVOKE_COMMAND", "TEE for slot", records) && CallOf(record) == number)];
        JsonElement rpc = records.Single(record => IsSpan(record, "GET_TIME", "call in slot", records));
        Assert.That(records.First(record => Name(record) == "process_name").GetProperty("args").GetProperty("name")
            .GetString(), Is.EqualTo("tiny \"vm\""));
        Assert.That(Result(call), Is.EqualTo("Busy"));
        Assert.That(smcs.Select(record => $"{Name(record)} {Result(record)}"),
            Is.EqualTo(["CALL_WITH_RPC_ARG RPC_CMD", "RETURN_FROM_RPC OK"]));
        Assert.That(records.Where(record => record.TryGetProperty("id", out JsonElement id) && id.GetInt64() == number)
            .Select(record => record.GetProperty("ph").GetString()), Is.EqualTo(["s", "f"]));
        Assert.That(work, Has.Length.EqualTo(2));
        Assert.That(CallOf(rpc), Is.EqualTo(number));

        // One after the other: the TEE works, asks, waits, works again; all within the call.
        double[] times =
            [Start(call), Start(work[0]), End(work[0]), Start(rpc), End(rpc), Start(work[1]), End(work[1])];
        Assert.That(times, Is.Ordered);
        Assert.That(End(call), Is.GreaterThanOrEqualTo(End(work[1]) - 0.002), "The times are rounded to 1 ns.");
    }

    [Test]
    public async Task Trace_PreemptedAbandonedAndRefusedCalls_AreThere()
    {
        using MemoryStream file = new();
        using (OpTeeTrace trace = new(file))
        {
            await using GuestBench bench = new(new OpTeeGuestOptions { Trace = trace });
            TaskCompletionSource<TeeResult> end = new();
            uint session = bench.Open();
            bench.Backend.OnInvoke = _ => new(end.Task);
            PendingCall call = bench.StartInvoke(session);
            _ = bench.Resume(call);
            _ = bench.Driver.Call(OpTeeSmc.ExchangeCapabilities);
            end.SetResult(TeeResult.Success);
            _ = bench.Driver.Call(OpTeeSmc.ReturnFromRpc, 0, 0, 0xdead);
            _ = bench.Driver.Call(0xb200_0055);
        }

        JsonElement[] records = Read(file);
        Assert.That(records.Count(record => IsSpan(record, "preempted", "call in slot", records)), Is.EqualTo(1));
        Assert.That(records.Where(record => IsSpan(record, "INVOKE_COMMAND", "call in slot", records)).Select(Result),
            Is.EqualTo(["abandoned"]));
        Assert.That(records.Where(record => Name(record) == "RETURN_FROM_RPC").Select(Result),
            Is.EqualTo(["RPC_FOREIGN_INTR", "ERESUME"]));
        Assert.That(records.Where(record => Name(record) == "0xb2000055").Select(Result),
            Is.EqualTo(["UNKNOWN_FUNCTION"]));
    }

    [Test]
    public async Task Trace_OfTwoVms_HasAProcessForEach()
    {
        using MemoryStream file = new();
        using (OpTeeTrace trace = new(file))
        {
            await using GuestBench one = new(new OpTeeGuestOptions { Name = "one", Trace = trace });
            await using GuestBench two = new(new OpTeeGuestOptions { Name = "two", Trace = trace });
            _ = one.Open();
            _ = two.Open();
        }

        JsonElement[] records = Read(file);
        JsonElement[] openings = [.. records.Where(record => Name(record) == "OPEN_SESSION")];
        Assert.That(openings.Select(record => record.GetProperty("pid").GetInt32()).Distinct(), Is.EqualTo([1, 2]));
        Assert.That(openings.Select(CallOf).Distinct(), Has.Exactly(2).Items);
    }

    [Test]
    public async Task Trace_CallWithoutRpc_AddsLessThan700Bytes()
    {
        using MemoryStream file = new();
        using (OpTeeTrace trace = new(file))
        {
            await using GuestBench bench = new(new OpTeeGuestOptions { Trace = trace });
            uint session = bench.Open();
            for (int call = 0; call < 100; call++)
            {
                _ = bench.Driver.Invoke(session, 0);
            }
        }

        Assert.That(file.ToArray().Length / 100, Is.InRange(300, 700));
    }

    [Test]
    public async Task Trace_Full_EndsWithinItsLength_AndGuestsAreServed()
    {
        using MemoryStream file = new();
        using (OpTeeTrace trace = new(file, 8192))
        {
            await using GuestBench bench = new(new OpTeeGuestOptions { Trace = trace });
            uint session = bench.Open();
            for (int call = 0; call < 100; call++)
            {
                Assert.That(bench.Driver.Invoke(session, 0).ReturnCode, Is.Zero);
            }
        }

        Assert.That(file.ToArray(), Has.Length.InRange(4096, 8192));
        Assert.That(Name(Read(file)[^1]), Is.EqualTo("trace is full"));
    }

    [Test]
    public async Task Trace_StreamThrows_GuestsAreServed_AndTheVmmCanSeeIt()
    {
        using OpTeeTrace trace = new(new FullStream());
        await using GuestBench bench = new(new OpTeeGuestOptions { Trace = trace });
        uint session = bench.Open();
        for (int call = 0; call < 500; call++)
        {
            Assert.That(bench.Driver.Invoke(session, 0).ReturnCode, Is.Zero);
        }

        Assert.That(trace.Failure, Is.TypeOf<IOException>());
        Assert.That(bench.Loggers.EventIds, Has.None.EqualTo(1101));
    }

    [Test]
    public async Task Trace_Disposed_GuestsAreServed()
    {
        using MemoryStream file = new();
        OpTeeTrace trace = new(file);
        await using GuestBench bench = new(new OpTeeGuestOptions { Trace = trace });
        uint session = bench.Open();
        trace.Dispose();
        byte[] written = file.ToArray();

        Assert.That(bench.Driver.Invoke(session, 0).ReturnCode, Is.Zero);
        trace.Dispose();

        Assert.That(trace.Failure, Is.Null);
        Assert.That(file.ToArray(), Is.EqualTo(written));
    }

    [Test]
    public void Constructor_BadArguments_Throws()
    {
        Assert.That(() => new OpTeeTrace(null!), Throws.ArgumentNullException);
        Assert.That(() => new OpTeeTrace(Stream.Null, 4095), Throws.TypeOf<ArgumentOutOfRangeException>());
    }

    // Each record is a line of its own, so that a part of a file can be read too.
    private static JsonElement[] Read(MemoryStream file)
    {
        string text = System.Text.Encoding.UTF8.GetString(file.ToArray());
        JsonElement[] records = [.. JsonDocument.Parse(text).RootElement.EnumerateArray()];
        Assert.That(text.Split('\n'), Has.Length.EqualTo(records.Length + 3));
        return records;
    }

    private static bool IsSpan(JsonElement record, string name, string track, JsonElement[] records) =>
        record.GetProperty("ph").GetString() == "X" && Name(record) == name && Track(record, records) == track;

    // Without its number: which slot a call gets depends on what its thread used before.
    private static string? Track(JsonElement record, JsonElement[] records) => records
        .Where(one => Name(one) == "thread_name"
            && one.GetProperty("tid").GetInt32() == record.GetProperty("tid").GetInt32()
            && one.GetProperty("pid").GetInt32() == record.GetProperty("pid").GetInt32())
        .Select(one => one.GetProperty("args").GetProperty("name").GetString()!.TrimEnd([.. " 0123456789"]))
        .SingleOrDefault();

    private static string? Name(JsonElement record) => record.GetProperty("name").GetString();

    private static string? Result(JsonElement record) =>
        record.GetProperty("args").GetProperty("result").GetString();

    private static long CallOf(JsonElement record) =>
        record.GetProperty("args").TryGetProperty("call", out JsonElement call) ? call.GetInt64() : 0;

    private static double Start(JsonElement record) => record.GetProperty("ts").GetDouble();

    private static double End(JsonElement record) => Start(record) + record.GetProperty("dur").GetDouble();

    private sealed class FullStream : MemoryStream
    {
        public override void Write(ReadOnlySpan<byte> buffer) => throw new IOException("The disk is full.");
    }
}
