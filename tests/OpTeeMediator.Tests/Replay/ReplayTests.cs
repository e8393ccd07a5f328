using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing.Traces;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Replay;

/// <summary>What the real driver of Debian's Linux 6.12 has sent: it must be answered, and
/// asked, as its TEE did.</summary>
[TestFixture(TeeExecution.Inline)]
[TestFixture(TeeExecution.Worker)]
[Parallelizable(ParallelScope.All)]
internal sealed class ReplayTests(TeeExecution execution)
{
    private const OpTeeCapabilities All =
        OpTeeCapabilities.DynamicSharedMemory | OpTeeCapabilities.NullMemoryReference | OpTeeCapabilities.RpcArgument;

    private static string TraceFile =>
        Path.Combine(TestContext.CurrentContext.TestDirectory, "Replay", "trace-linux-6.12.txt");

    // Capabilities, enumeration and interrupt as the heading of each variant says. The number of calls shows that the
    // parser misses none: it is that of the recording's lines with an SMC, less the one by which the guest powers off.
    [TestCase('A', All, false, false, 36)]
    [TestCase('B', All, true, false, 57)]
    [TestCase('C', OpTeeCapabilities.DynamicSharedMemory | OpTeeCapabilities.NullMemoryReference, true, false, 59)]
    [TestCase('D', OpTeeCapabilities.DynamicSharedMemory, false, false, 40)]
    [TestCase('E', All, false, true, 43)]
    [TestCase('F', All, false, false, 36)]
    [TestCase('G', OpTeeCapabilities.DynamicSharedMemory, true, false, 14)]
    public async Task Replay_OfAVariant_IsAnsweredAndAskedAsRecorded(
        char variant, OpTeeCapabilities capabilities, bool enumerates, bool notifies, int calls)
    {
        List<TraceCall> recorded = Trace.Read(TraceFile, variant);
        await using Replayer replayer = new(capabilities, notifies, new ModelTee(enumerates, execution));

        replayer.Replay(recorded);

        Assert.That(replayer.Differences, Is.Empty);
        Assert.That(recorded, Has.Count.EqualTo(calls));
        Assert.That(replayer.Status, Is.EqualTo(OpTeeGuestStatus.Nothing),
            "The driver leaves nothing behind at its end.");
        Assert.That(replayer.Suspended, Is.Zero, "Every call has come to its end.");
    }
}
