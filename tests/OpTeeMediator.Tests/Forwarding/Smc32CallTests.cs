using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>SMC32 in the forwarder: arguments are W registers, and bit 16 of the function identifier is a hint (SMCCC
/// 1.3).</summary>
internal sealed class Smc32CallTests
{
    private const ulong UpperHalf = 0xdead_beef_0000_0000;
    private const uint SveHint = 1 << 16;

    [TestCase(OpTeeSmc.CallsUid)]
    [TestCase(OpTeeSmc.CallsRevision)]
    [TestCase(OpTeeSmc.GetOsRevision)]
    [TestCase(OpTeeSmc.GetShmConfig)]
    [TestCase(OpTeeSmc.ExchangeCapabilities)]
    [TestCase(OpTeeSmc.DisableShmCache)]
    [TestCase(OpTeeSmc.EnableShmCache)]
    [TestCase(OpTeeSmc.GetThreadCount)]
    [TestCase(OpTeeSmc.VmCreated)]
    [TestCase(OpTeeSmc.CallWithArgument)]
    [TestCase(OpTeeSmc.ReturnFromRpc)]
    [TestCase(0xb200_0055u)]
    [TestCase(0x3200_0077u)]
    public void Handle_SveHint_AnswersAsWithout(uint functionId)
    {
        ForwardedVm vm = new ForwarderBench().Create();

        Assert.That(Answer(vm, functionId | SveHint), Is.EqualTo(Answer(vm, functionId)));
        Assert.That(vm.Bench.OpTee.Calls.Select(call => call.X0 & SveHint), Is.All.Zero, "OP-TEE knows no hint.");
    }

    [TestCase(0xb202_0001u)]
    [TestCase(0xb280_0001u)]
    [TestCase(0x3203_0004u)]
    public void Handle_OtherReservedBits_IsNotItsCall(uint functionId)
    {
        ForwardedVm vm = new ForwarderBench().Create();
        SmcRegisters registers = default;
        registers.X0 = functionId;

        Assert.That(vm.Forwarder.Handle(ref registers, SmcRegisterSet.All).Kind, Is.EqualTo(SmcOutcomeKind.NotHandled));
    }

    [TestCase(OpTeeSmc.CallWithArgument)]
    [TestCase(OpTeeSmc.CallWithRpcArgument)]
    public void Start_SveHint_TheMessageReachesOpTee(uint functionId)
    {
        ForwardedVm vm = new ForwarderBench().Create();
        ulong page = vm.Driver.AllocatePage();
        vm.Driver.WriteMessage(page, FakeDriver.Opening(ForwarderBench.Application, default, 0));

        Assert.That(vm.Driver.Call(functionId | SveHint, page >> 32, page).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(vm.Status.Sessions, Is.EqualTo(1));
    }

    [Test]
    public void CallWithRegisteredArgument_SveHintAndUpperHalves_IsTheMessageAtTheOffset()
    {
        ForwardedVm vm = new ForwarderBench().Create();
        ulong page = vm.Share(ForwarderBench.Cookie, 1)[0];
        vm.Driver.WriteMessage(page + 8, FakeDriver.Opening(ForwarderBench.Application, default, 0));

        SmcRegisters answer = vm.Driver.Call(
            OpTeeSmc.CallWithRegisteredArgument | SveHint,
            UpperHalf | (ForwarderBench.Cookie >> 32),
            UpperHalf | (ForwarderBench.Cookie & uint.MaxValue),
            UpperHalf | 8);

        Assert.That((answer.X0, vm.Status.Sessions), Is.EqualTo(((ulong)OpTeeSmc.ReturnOk, 1)));
    }

    [TestCase(0ul)]
    [TestCase(1ul)]
    public void ExchangeCapabilities_UpperHalfOfX1_IsIgnored(ulong capabilities)
    {
        ForwardedVm vm = new ForwarderBench().Create();

        Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities, UpperHalf | capabilities).X0,
            Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(vm.Bench.OpTee.Calls[^1].X1, Is.EqualTo(capabilities));
    }

    // A monitor may leave anything there, too.
    [Test]
    public void Answers_UpperHalvesFromTheSecureWorld_DoNotReachTheGuest()
    {
        ForwarderBench bench = new();
        NoisyMonitor monitor = new(bench.OpTee);
        OpTeeMediator.Forwarding.HostOpTee world = new(monitor);
        var memory = bench.MemoryOf(0);
        OpTeeMediator.Forwarding.OpTeeForwarder forwarder = new(world, memory, memory);
        FakeDriver driver = new(forwarder, memory, memory.Range);

        SmcRegisters[] answers = [driver.Call(OpTeeSmc.CallsUid), driver.Call(OpTeeSmc.ExchangeCapabilities),
            driver.Call(OpTeeSmc.GetOsRevision)];

        Assert.That(answers.SelectMany(answer => answer[..4].ToArray()), Is.All.LessThanOrEqualTo(uint.MaxValue));
        Assert.That(answers[1].X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(driver.OpenSession(ForwarderBench.Application).ReturnCode, Is.Zero);
    }

    private static ulong[] Answer(ForwardedVm vm, uint functionId)
    {
        SmcRegisters registers = default;
        registers.X0 = functionId;
        registers.X2 = 8;
        SmcOutcome outcome = vm.Forwarder.Handle(ref registers, SmcRegisterSet.All);
        return [(ulong)outcome.Kind, outcome.Registers.Bits, .. registers[..4]];
    }

    private sealed class NoisyMonitor(FakeOpTee opTee) : OpTeeMediator.Forwarding.ISecureMonitor
    {
        public void MakeCall(ref SmcRegisters registers)
        {
            opTee.MakeCall(ref registers);
            for (int index = 0; index < 4; index++)
            {
                registers[index] |= UpperHalf;
            }
        }
    }
}
