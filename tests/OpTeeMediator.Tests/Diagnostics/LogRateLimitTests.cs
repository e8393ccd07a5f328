using OpTeeMediator.Diagnostics;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Diagnostics;

[Parallelizable(ParallelScope.All)]
internal sealed class LogRateLimitTests
{
    [Test]
    public void TryPass_ManyInAnInterval_FirstPassesAndTheNextIntervalTellsHowManyDidNot()
    {
        ManualTime time = new();
        LogRateLimit limit = new(time);

        bool first = limit.TryPass(out long beforeFirst);
        time.Advance(LogRateLimit.Interval - TimeSpan.FromTicks(1));
        bool second = limit.TryPass(out _);
        bool third = limit.TryPass(out _);
        time.Advance(TimeSpan.FromTicks(1));
        bool fourth = limit.TryPass(out long beforeFourth);
        bool fifth = limit.TryPass(out _);

        Assert.That((first, second, third, fourth, fifth), Is.EqualTo((true, false, false, true, false)));
        Assert.That((beforeFirst, beforeFourth), Is.EqualTo((0L, 2L)));
    }

    [Test]
    public void TryPass_LimitOfSeveral_ThatManyPassAtOnceAndThenOneInEachShare()
    {
        ManualTime time = new();
        LogRateLimit limit = new(time, 4);

        int atOnce = Enumerable.Range(0, 10).Count(_ => limit.TryPass(out long _));
        time.Advance(LogRateLimit.Interval / 4);
        bool next = limit.TryPass(out long suppressed);
        bool afterThat = limit.TryPass(out long _);
        time.Advance(LogRateLimit.Interval);
        int later = Enumerable.Range(0, 10).Count(_ => limit.TryPass(out long _));

        Assert.That((atOnce, next, suppressed, afterThat, later), Is.EqualTo((4, true, 6L, false, 4)));
    }
}
