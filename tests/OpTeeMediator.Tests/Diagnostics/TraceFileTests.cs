using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Forwarding;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;
using OpTeeMediator.Tests.Forwarding;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Diagnostics;

/// <summary>The file of a run in which guests of each kind make calls of each kind, record by record.</summary>
internal sealed class TraceFileTests
{
    [TestCase(TeeExecution.Inline)]
    [TestCase(TeeExecution.Worker)]
    public async Task File_OfARun_FollowsEachCallFromSmcThroughItsRpcsToTheResult(TeeExecution execution)
    {
        using MemoryStream stream = new();
        using (OpTeeTrace trace = new(stream))
        {
            await RunGuestAsync(trace, execution);
            await RunForwarderAsync(trace);
        }

        TraceFile file = new(stream);
        TraceRecord[] invocations = [.. file.Spans.Where(span => span is { Name: "INVOKE_COMMAND", Result: not null })];
        Assert.That(invocations, Has.Length.EqualTo(60));
        foreach (TraceRecord invocation in invocations)
        {
            TraceRecord[] spans = file.SpansOf(invocation.Call);
            string[] smcs =
                [.. spans.Where(span => span.Track < 1_000_000).Select(span => $"{span.Name} {span.Result}")];
            Assert.That(smcs, Has.Length.EqualTo(3));
            Assert.That(smcs, Is.EqualTo(
                ["CALL_WITH_RPC_ARG RPC_CMD", "RETURN_FROM_RPC RPC_CMD", "RETURN_FROM_RPC OK"]));
            Assert.That(file.FlowOf(invocation.Call), Is.EqualTo(["s", "t", "f"]));
            Assert.That(spans.Where(span => span.Track == invocation.Track).Select(span => span.Name),
                Is.EqualTo(["INVOKE_COMMAND", "GET_TIME", "LOAD_TA"]));
            Assert.That(spans.Count(span => span.Track == invocation.Track + 1), Is.EqualTo(3), "The TEE's work.");
            Assert.That(spans.Where(span => span.Track >= 1_000_000), Is.All.Matches<TraceRecord>(span =>
                span.Start >= invocation.Start && span.End <= invocation.End + 0.0021));
            Assert.That(invocation.Result, Is.EqualTo("Success"));
        }
    }

    // What a viewer would show wrong is seen when the file is read.
    [TestCase(
        """{"ph":"X","name":"a","cat":"optee","pid":1,"tid":1,"ts":5,"dur":10,"args":{}}""", "crosses")]
    [TestCase("""{"ph":"t","name":"call","cat":"optee","pid":1,"tid":1,"ts":1,"id":1,"bp":"e"}""", "\"s\"")]
    [TestCase("""{"ph":"X","name":"a","cat":"optee","pid":1,"tid":2,"ts":5,"dur":1,"args":{}}""", "(1, 2)")]
    [TestCase("""{"ph":"X","name":"a","cat":"optee","pid":1,"tid":1,"ts":5,"args":{}}""", "dur")]
    public void File_WithAWrongRecord_IsRefused(string record, string why)
    {
        string[] lines =
        [
            """{"ph":"M","name":"process_name","cat":"optee","pid":1,"tid":0,"ts":0,"args":{"name":"vm"}}""",
            """{"ph":"M","name":"thread_name","cat":"optee","pid":1,"tid":1,"ts":0,"args":{"name":"cpu"}}""",
            """{"ph":"X","name":"b","cat":"optee","pid":1,"tid":1,"ts":0,"dur":10,"args":{}}""",
            record,
            """{"ph":"i","name":"trace ends","cat":"optee","pid":0,"tid":0,"ts":99,"s":"g"}""",
        ];
        using MemoryStream stream = new(System.Text.Encoding.UTF8.GetBytes($"[{string.Join(',', lines)}]"));

        using (new NUnit.Framework.Internal.TestExecutionContext.IsolatedContext())
        {
            Assert.That(() => new TraceFile(stream), Throws.TypeOf<AssertionException>().With.Message.Contains(why));
        }
    }

    private static async Task RunGuestAsync(OpTeeTrace trace, TeeExecution execution)
    {
        await using GuestBench bench = new(
            new OpTeeGuestOptions { Name = "served", Trace = trace, Quantum = TimeSpan.FromSeconds(1) },
            new ScriptedBackend { Execution = execution });
        bench.Driver.OnRpc = Answer(new RpcServices(bench.Driver));
        bench.Backend.OnInvoke = async request =>
        {
            _ = await request.Guest!.GetTimeAsync();
            _ = await request.Guest.CallAsync(OpTeeRpc.LoadApplication);
            return TeeResult.Success;
        };
        uint session = bench.Open();
        for (int call = 0; call < 30; call++)
        {
            _ = bench.Driver.Invoke(session, 0);
        }
    }

    private static async Task RunForwarderAsync(OpTeeTrace trace)
    {
        ForwarderBench bench = new();
        ForwardedVm vm = bench.Create(options: new OpTeeForwarderOptions { Name = "forwarded", Trace = trace });
        vm.Driver.OnRpc = Answer(new RpcServices(vm.Driver));
        bench.OpTee.OnInvoke = Ask;
        uint session = vm.Open();
        for (int call = 0; call < 30; call++)
        {
            _ = vm.Driver.Invoke(session, 0);
        }

        await vm.Forwarder.DisposeAsync();

        static IEnumerable<RpcStep> Ask(FakeThread thread) =>
            thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut())
                .Concat(thread.Ask(OpTeeRpc.LoadApplication, GuestParameter.ValueIn(1, 2)));
    }

    private static Func<GuestMessage, GuestMessage> Answer(RpcServices services)
    {
        services.OnSupplicant = message => message with { ReturnCode = 0 };
        return services.Serve;
    }
}
