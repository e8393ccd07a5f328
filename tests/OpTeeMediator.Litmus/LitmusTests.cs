using System.Collections.Immutable;
using OpTeeMediator.Litmus.Patterns;

namespace OpTeeMediator.Litmus;

/// <summary>The litmus tests.</summary>
internal static class LitmusTests
{
    /// <summary>Makes each of them, by its name.</summary>
    public static ImmutableArray<Func<LitmusTest>> All { get; } =
    [
        BothLook.LookUp, BothLook.Release, BothLook.EndOfWait, BothLook.Pause, BothLook.Cancellation,
        BothLook.RunningCall, BothLook.KickOfRun, BothLook.KickOfAnswer, BothLook.KickOfCompletion,
        HandOver.Completion, HandOver.Slot, HandOver.SlotOfNext, HandOver.Resume, HandOver.Table, HandOver.Version,
        HandOver.Pin, HandOver.WrittenPage,
    ];
}
