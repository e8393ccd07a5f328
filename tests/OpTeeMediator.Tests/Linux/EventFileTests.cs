using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Tests.Linux;

/// <summary>Event files: what KVM signals, and what it waits for.</summary>
[TestFixture]
public sealed class EventFileTests
{
    [Test]
    public void TryTake_SignalledTwice_TakesBothAtOnce()
    {
        using EventFile file = EventFile.Create();
        file.Signal();
        file.Signal();

        using (Assert.EnterMultipleScope())
        {
            Assert.That((file.TryTake(TimeSpan.Zero, out ulong count), count), Is.EqualTo((true, 2ul)));
            Assert.That(file.TryTake(TimeSpan.Zero, out _), Is.False);
        }
    }

    [Test]
    public void TryTake_NoSignal_EndsAfterTheTimeout()
    {
        using EventFile file = EventFile.Create();

        Assert.That(file.TryTake(TimeSpan.FromMilliseconds(20), out ulong count), Is.False);
        Assert.That(count, Is.Zero);
    }

    [Test]
    public async Task TryTake_SignalledByAnotherThread_Returns()
    {
        using EventFile file = EventFile.Create();
        Task<bool> taken = Task.Run(() => file.TryTake(Timeout.InfiniteTimeSpan, out _));

        file.Signal();

        Assert.That(await taken.WaitAsync(TimeSpan.FromSeconds(10)), Is.True);
    }

    [Test]
    public void Signal_CounterFull_Throws()
    {
        using EventFile file = EventFile.Create();
        Fill(file);

        Assert.That(file.Signal, Throws.InstanceOf<SystemCallException>().With.Message.Contains("EAGAIN"));
    }

    private static unsafe void Fill(EventFile file)
    {
        ulong most = ulong.MaxValue - 1;
        Assert.That(LibC.Write(file.Handle, &most, sizeof(ulong)), Is.EqualTo((nint)sizeof(ulong)));
    }
}
