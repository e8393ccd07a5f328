using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Supplied;
using OpTeeMediator.Tests.Linux;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Guests;

[Parallelizable(ParallelScope.All)]
internal sealed class NonThrowingInterruptLineTests
{
    private const int InterruptFailed = 1102;

    [Test]
    public void Pulse_VmmsLineThrows_IsRepeatedOnceItWorks()
    {
        ManualTime time = new();
        using ListLoggerFactory loggers = new();
        FailingInterruptLine line = new(new FailurePlan(nameof(IInterruptLine.Pulse), 1, Failure.Throws));
        using NonThrowingInterruptLine nonThrowing = new(line, new VmPause(), loggers, time);

        nonThrowing.Pulse();
        int atFirst = line.Pulses;
        time.Advance(NonThrowingInterruptLine.RepeatAfter);
        int afterwards = line.Pulses;
        time.Advance(TimeSpan.FromMinutes(1));

        Assert.That((atFirst, afterwards, line.Pulses), Is.EqualTo((0, 1, 1)));
        Assert.That(loggers.EventIds.Count(id => id == InterruptFailed), Is.EqualTo(1));
    }

    [Test]
    public void Pulse_DisposedOfAfterAFailure_IsNotRepeated()
    {
        ManualTime time = new();
        using ListLoggerFactory loggers = new();
        FailingInterruptLine line = new(new FailurePlan(nameof(IInterruptLine.Pulse), 1, Failure.Throws));
        NonThrowingInterruptLine nonThrowing = new(line, new VmPause(), loggers, time);

        nonThrowing.Pulse();
        nonThrowing.Dispose();
        time.Advance(TimeSpan.FromMinutes(1));

        Assert.That(line.Pulses, Is.Zero);
    }
}
