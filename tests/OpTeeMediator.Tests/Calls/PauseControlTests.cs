using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Calls;
using OpTeeMediator.Tests.Rpc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Calls;

internal sealed class PauseControlTests
{
    [Test]
    public void Withdraw_AnotherAttemptGoesOn_StaysPaused()
    {
        PauseControl pause = new();
        long first = pause.Attempt();
        long second = pause.Attempt();

        pause.Withdraw(first);

        Assert.That(pause.IsPaused);
        Assert.That(pause.TryConfirm(second));
        Assert.That(pause.IsPaused);
    }

    [Test]
    public void Withdraw_AnotherAttemptHasSucceeded_StaysPaused()
    {
        PauseControl pause = new();
        long first = pause.Attempt();
        _ = pause.TryConfirm(pause.Attempt());

        pause.Withdraw(first);

        Assert.That(pause.IsPaused);
    }

    [Test]
    public void Withdraw_LastAttempt_ReleasesOnce()
    {
        int releases = 0;
        PauseControl pause = new() { Released = () => releases++ };
        long first = pause.Attempt();
        long second = pause.Attempt();

        pause.Withdraw(second);
        pause.Withdraw(first);

        Assert.That((pause.IsPaused, releases), Is.EqualTo((false, 1)));
    }

    [Test]
    public void Resume_SeveralPausesAndAttempts_EndsThemAll()
    {
        PauseControl pause = new();
        _ = pause.TryConfirm(pause.Attempt());
        _ = pause.TryConfirm(pause.Attempt());
        long attempt = pause.Attempt();

        pause.Resume();
        bool isOver = pause.IsOver(attempt);
        long later = pause.Attempt();
        pause.Withdraw(attempt);

        Assert.That((isOver, pause.TryConfirm(attempt)), Is.EqualTo((true, false)));
        Assert.That(pause.IsPaused, "An attempt of before does not end one of afterwards.");
        Assert.That(pause.TryConfirm(later));
    }

    [Test]
    public void Post_VmPaused_InterruptIsRaisedOnceAfterwards()
    {
        PauseControl pause = new();
        CountingLine line = new();
        NonThrowingInterruptLine heldLine = new(line, pause, NullLogger.Instance);
        NotificationQueue queue = new(heldLine);
        pause.Released = heldLine.PulseIfDue;
        _ = pause.Attempt();

        queue.Post(1);
        queue.Post(2);
        int before = line.Pulses;
        pause.Resume();
        pause.Resume();

        Assert.That((before, line.Pulses), Is.EqualTo((0, 1)));
        Assert.That((queue.TryTake(out uint first, out bool hasMore), first, hasMore), Is.EqualTo((true, 1u, true)));
    }

    [Test]
    public void TryEnter_VmPaused_IsHeldUnlessWhatARetiredDriverLeftIsToEnd()
    {
        PauseControl pause = new();
        DriverInstance present = new(1, 1);
        DriverInstance retired = new(1, 1);
        retired.Retire();
        _ = pause.Attempt();

        (bool, bool) whilePaused = (pause.TryEnter(present), pause.TryEnter(retired));
        pause.BeginEnding();
        (bool, bool) whileEnding = (pause.TryEnter(present), pause.TryEnter(retired));
        bool isQuiet = pause.IsQuiet;
        pause.Exit();

        Assert.That((whilePaused, whileEnding), Is.EqualTo(((false, false), (false, true))));
        Assert.That((isQuiet, pause.IsQuiet), Is.EqualTo((false, true)));
    }
}
