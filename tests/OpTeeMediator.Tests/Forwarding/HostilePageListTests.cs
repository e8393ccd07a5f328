using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>Guests that register memory which is not theirs, or change a page list while it is read.</summary>
internal sealed class HostilePageListTests : ForwarderFixture
{
    [Test]
    public void PageList_WithPhysicalAddressesOfAnotherVm_IsRefused()
    {
        ForwardedVm other = Bench.Create(1);
        ulong target = other.Memory.PhysicalOf(other.Driver.AllocatePage());

        Assert.That(Vm.Driver.Register([Vm.Driver.AllocatePage(), target], 0, 0x2000, ForwarderBench.Cookie).ReturnCode,
            Is.EqualTo(BadParameters));
        Assert.That(Vm.Status, Is.EqualTo(OpTeeGuestStatus.Nothing));
        Assert.That(YieldingCalls, Is.Zero);
    }

    [Test]
    public void PageList_OfShadowPages_IsRefused()
    {
        _ = Vm.Memory.GetShadowPage(0, out var shadow);

        Assert.That(Vm.Driver.Register([shadow.Value], 0, 0x1000, ForwarderBench.Cookie).ReturnCode,
            Is.EqualTo(BadParameters));
        Assert.That(YieldingCalls, Is.Zero);
    }

    [TestCase(ForwarderBench.GuestStart - 0x1000)]
    [TestCase(ForwarderBench.GuestStart + 8)]
    [TestCase(0xffff_ffff_ffff_f000)]
    public void PageList_OfBadPages_IsRefused(ulong page)
    {
        Assert.That(Vm.Driver.Register([page], 0, 0x1000, ForwarderBench.Cookie).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(Vm.Driver.Register([Vm.Driver.AllocatePage(), page], 0, 0x2000, ForwarderBench.Cookie).ReturnCode,
            Is.EqualTo(BadParameters));
        Assert.That(Vm.Memory.Pins, Is.Zero);
    }

    [Test]
    public void PageList_RewrittenDuringTheCall_IsNotReadAgain()
    {
        ulong[] pages = Vm.Driver.AllocatePages(3, 2);
        ulong list = Vm.Driver.WritePageList(pages);
        Bench.OpTee.OnCall = _ => Vm.Driver.Write<ulong>(list, [0, 0, 0]);
        Bench.OpTee.InterruptsCalls = true;

        uint answer = Vm.Driver.TrySend(
            new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory,
            GuestParameter.PageList(list, 0x3000, ForwarderBench.Cookie)));

        Assert.That(answer, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(Vm.Partition.Memory.Single().Pages, Is.EqualTo(Vm.PhysicalOf(pages)));
    }

    [Test]
    public void PageList_OfAnInterruptedCall_IsNoOtherCallsMeanwhile()
    {
        ulong[] pages = Vm.Driver.AllocatePages(3, 2);
        ulong list = Vm.Driver.WritePageList(pages);
        Bench.OpTee.InterruptsCalls = true;
        SmcRegisters first = Vm.Start(
            new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory,
            GuestParameter.PageList(list, 0x3000, ForwarderBench.Cookie)), out _);

        Assert.That(Vm.Driver.Register(Vm.Driver.AllocatePages(3, 2), 0, 0x3000, OtherCookie).ReturnCode, Is.Zero);
        Assert.That(Vm.Resume(first.X3).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(Vm.Partition.Memory[0].Pages, Is.EqualTo(Vm.PhysicalOf(pages)));
    }
}
