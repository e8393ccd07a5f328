using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Tests.Replay;

/// <summary>What the real driver of Debian's Linux 6.12 has sent: it must be answered as its TEE did.</summary>
[Parallelizable(ParallelScope.All)]
internal sealed class ReplayTests
{
    private const OpTeeCapabilities All = OpTeeCapabilities.DynamicSharedMemory | OpTeeCapabilities.NullMemoryReference | OpTeeCapabilities.RpcArgument;

    // Capabilities and enumeration as the heading of each variant says. The number of calls shows that the parser misses none: with the returns from
    // RPCs they are the number that the recording itself gives at its end, less those for the firmware.
    [TestCase('A', All, false, 28, 2)]
    [TestCase('B', All, true, 49, 2)]
    [TestCase('C', OpTeeCapabilities.DynamicSharedMemory | OpTeeCapabilities.NullMemoryReference, true, 49, 3)]
    [TestCase('D', OpTeeCapabilities.DynamicSharedMemory, false, 30, 3)]
    [TestCase('E', All, false, 28, 9)]
    [TestCase('F', All, false, 28, 2)]
    [TestCase('G', OpTeeCapabilities.DynamicSharedMemory, true, 14, 0)]
    public async Task Replay_OfAVariant_IsAnsweredAsRecorded(char variant, OpTeeCapabilities capabilities, bool enumerates, int replayed, int leftOut)
    {
        await using Replayer replayer = new(capabilities, enumerates);

        replayer.Replay(Trace.Read(variant));

        Assert.That(replayer.Differences, Is.Empty);
        Assert.That((replayer.Replayed, replayer.LeftOut), Is.EqualTo((replayed, leftOut)));
        Assert.That(replayer.Status, Is.EqualTo(default(OpTeeGuestStatus)), "The driver leaves nothing behind at its end.");
    }
}
