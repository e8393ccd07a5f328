using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing.Forwarding;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>Guests that forge, repeat or exchange resume information.</summary>
internal sealed class HostileResumeTests : ForwarderFixture
{
    [TestCase(0u)]
    [TestCase(1u)]
    [TestCase(2u)]
    [TestCase(0xffu)]
    [TestCase(0x100u)]
    [TestCase(0x101u)]
    [TestCase(0x200u)]
    [TestCase(0xffff_ffffu)]
    public void ResumeInformation_Bogus_IsRefusedWithoutOpTee(uint information)
    {
        Assert.That(Vm.Resume(information).X0, Is.EqualTo(OpTeeSmc.ReturnResume));
        Assert.That(YieldingCalls, Is.Zero);
    }

    [Test]
    public void ResumeInformation_UsedTwiceOrOfAnotherVm_IsRefused()
    {
        ForwardedVm other = Bench.Create(1);
        uint session = Vm.Open();
        Bench.OpTee.OnInvoke = _ => [RpcStep.ForeignInterrupt, RpcStep.ForeignInterrupt];
        SmcRegisters first = Vm.Start(ForwardedVm.Invocation(session), out _);

        Assert.That(other.Resume(first.X3).X0, Is.EqualTo(OpTeeSmc.ReturnResume));
        SmcRegisters second = Vm.Resume(first.X3);
        Assert.That(second.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That(Vm.Resume(first.X3).X0, Is.EqualTo(OpTeeSmc.ReturnResume));
        Assert.That(Vm.Resume(second.X3).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
    }

    [Test]
    public void Resume_OnlyLowHalfOfX3_Counts()
    {
        uint session = Vm.Open();
        Bench.OpTee.OnInvoke = _ => [RpcStep.ForeignInterrupt];
        SmcRegisters call = Vm.Start(ForwardedVm.Invocation(session), out _);

        Assert.That(Vm.Resume(call.X3 | 0xffff_ffff_0000_0000).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
    }
}
