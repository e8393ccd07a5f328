using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>A guest that takes more than its VM may have.</summary>
internal sealed class LimitTests : ForwarderFixture
{
    [Test]
    public void Limits_OfSharedPages_AreTheOptions()
    {
        ForwardedVm small =
            Bench.Create(1, new() { Limits = new OpTeeLimits { PagesPerBuffer = 128, Pages = 130, Buffers = 2 } });

        Assert.That(small.Driver.Register(small.Driver.AllocatePages(129, 1), 0, 129 * 4096, 1).ReturnCode,
            Is.EqualTo(0xffff_000c), "too large");
        Assert.That(small.Driver.Register(small.Driver.AllocatePages(128, 1), 0, 128 * 4096, 2).ReturnCode, Is.Zero);
        Assert.That(small.Driver.Register(small.Driver.AllocatePages(3, 1), 0, 3 * 4096, 3).ReturnCode,
            Is.EqualTo(0xffff_000c), "too many pages");
        Assert.That(small.Driver.Register(small.Driver.AllocatePages(1, 1), 0, 4096, 4).ReturnCode, Is.Zero);
        Assert.That(small.Driver.Register(small.Driver.AllocatePages(1, 1), 0, 4096, 5).ReturnCode,
            Is.EqualTo(0xffff_000c), "too many buffers");
    }

    [Test]
    public void Limits_OfSessions_AreTheOptions()
    {
        ForwardedVm small = Bench.Create(1, new() { Limits = new OpTeeLimits { Sessions = 1 } });
        uint session = small.Open();

        Assert.That(small.Driver.OpenSession(ForwarderBench.Application).ReturnCode, Is.EqualTo(0xffff_000c));
        _ = small.Driver.CloseSession(session);
        Assert.That(small.Driver.OpenSession(ForwarderBench.Application).ReturnCode, Is.Zero);
    }
}
