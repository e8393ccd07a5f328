using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>Guests whose messages lie elsewhere, name what they must not, or change while they are read.</summary>
internal sealed class HostileMessageTests : ForwarderFixture
{
    [Test]
    public void Message_RewrittenDuringTheCall_IsNotReadAgain()
    {
        ulong[] pages = Vm.Share(ForwarderBench.Cookie, 1);
        uint session = Vm.Open();
        Bench.OpTee.InterruptsCalls = true;
        ulong[] seen = [];
        Bench.OpTee.OnInvoke = thread =>
        {
            seen = [thread.Parameters[0].Attributes, thread.Partition.Find(thread.Parameters[0].C)![0],
                thread.MessageHeader[2]];
            return [];
        };
        SmcRegisters interrupted = Vm.Start(
            ForwardedVm.Invocation(session, GuestParameter.RegisteredIn(0, 1, ForwarderBench.Cookie)), out ulong page);
        Vm.Driver.WriteMessage(page,
            ForwardedVm.Invocation(99,
            GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInOut, pages[0], 1, OtherCookie)));

        Assert.That(Vm.Resume(interrupted.X3).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(seen,
            Is.EqualTo(new ulong[] { OpTeeMessage.TypeRegisteredInput, Vm.Memory.PhysicalOf(pages[0]), session }));
        Assert.That(Vm.Driver.ReadMessage(page, 1).Parameters[0].C, Is.EqualTo(OtherCookie),
            "Only outputs are written.");
    }

    [TestCase(OpTeeMessage.TypeTemporaryInput)]
    [TestCase(OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous)]
    [TestCase(OpTeeMessage.TypeValueInput | OpTeeMessage.AttributeMeta)]
    [TestCase(0x4u)]
    [TestCase(0x8u)]
    [TestCase(0x1_0000_0009u)]
    public void Parameter_OfAnyOtherKind_IsRefused(ulong attributes)
    {
        uint session = Vm.Open();
        _ = Vm.Share(ForwarderBench.Cookie, 1);
        int before = YieldingCalls;

        GuestMessage answer =
            Vm.Driver.Invoke(session, 0, new GuestParameter(attributes, 0x4200_0000, 0x1000, ForwarderBench.Cookie));

        Assert.That(answer.ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(answer.ReturnOrigin, Is.EqualTo(3), "origin TEE, as OP-TEE answers");
        Assert.That(YieldingCalls, Is.EqualTo(before));
    }

    [Test]
    public void Parameter_Null_ReachesOpTee() =>
        Assert.That(
            Vm.Driver.Invoke(Vm.Open(), 0,
            GuestParameter.Temporary(OpTeeMessage.TypeTemporaryOutput, 0, 0x10, 0)).ReturnCode, Is.Zero);

    [TestCase(OpTeeMessage.CommandLendProtectedMemory)]
    [TestCase(OpTeeMessage.CommandReclaimProtectedMemory)]
    [TestCase(OpTeeMessage.CommandGetProtectedMemoryConfig)]
    [TestCase(OpTeeMessage.CommandAssignProtectedMemory)]
    [TestCase(12u)]
    [TestCase(0xffff_ffffu)]
    public void MessageCommand_Unknown_IsRefusedWithoutOpTee(uint command)
    {
        Assert.That(Vm.Driver.TrySend(new GuestMessage(command)), Is.EqualTo(OpTeeSmc.ReturnBadCommand));
        Assert.That(YieldingCalls, Is.Zero);
    }

    [TestCase(0ul)]
    [TestCase(ForwarderBench.GuestStart + 8)]
    [TestCase(0x4200_0000ul)]
    [TestCase(0x5000_0000ul)]
    [TestCase(0xffff_ffff_ffff_f000)]
    public void MessageAddress_Bad_IsRefused(ulong address)
    {
        Assert.That(Vm.Driver.Call(OpTeeSmc.CallWithArgument, address >> 32, address).X0,
            Is.EqualTo(OpTeeSmc.ReturnBadAddress));
        Assert.That(YieldingCalls, Is.Zero);
    }

    [Test]
    public void Session_OfAnotherVm_IsUnknown()
    {
        ForwardedVm other = Bench.Create(1);
        _ = Vm.Open();
        uint session = Vm.Open();

        Assert.That(other.Driver.Invoke(session, 0).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(other.Driver.CloseSession(session).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(Vm.Driver.Invoke(session, 0).ReturnCode, Is.Zero);
    }
}
