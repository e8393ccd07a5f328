using OpTeeMediator.Guests;
using OpTeeMediator.Machines.Partitioned;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.MachineTests;

/// <summary>What the page on troubleshooting says that the guest's kernel prints: each mistake is made, and the real
/// driver prints what the page says.</summary>
/// <remarks>A vCPU that never returns from a call is not shown: it would stop this whole machine.</remarks>
[TestFixture]
internal sealed class TroubleshootingTests()
    : PartitionedFixture(new PartitionedMachineOptions { HasSecureWorld = false })
{
    private const string Probing = "optee: probing for conduit method.";
    private const string UidMismatch = "optee: api uid mismatch";
    private const string CapabilitiesMismatch = "optee: capabilities mismatch";
    private const string ProbeFailed = "probe with driver optee failed with error -22";
    private const string NoInterrupt = "optee: platform_get_irq: ret -6";
    private const string Undefined = "Oops - Undefined instruction";
    private const string Initialized = "optee: initialized driver";

    private const string UnloadAndClear = "modprobe -r optee-rng optee; dmesg -c > /dev/null; ";

    private static readonly GuidePage Page = new("troubleshooting");

    private readonly SoftwareTeeBackend _tee = new(new SoftwareTeeOptions());

    private FaultyLoop Loop => (FaultyLoop)Handler!;

    protected override ISmcHandler CreateHandler() => new FaultyLoop { OpTee = new OpTeeGuest(Machine.Memory, _tee) };

    protected override async Task StopAsync() => await ((OpTeeGuest)Loop.OpTee).DisposeAsync();

    [SetUp]
    public async Task Unload()
    {
        Loop.Present = null;
        (await Machine.RunAsync(UnloadAndClear)).Succeeded();
    }

    [Test]
    public void Messages_OfThePage_AreThoseThatTheseTestsProvoke() => Assert.That(
        Page.FirstColumnAfter("## The guest's kernel").Where(text => text != "/dev/tee0"),
        Is.EquivalentTo([UidMismatch, CapabilitiesMismatch, ProbeFailed, NoInterrupt, Probing, Undefined]));

    [Test]
    public async Task Smc_AnsweredByAnother_IsAnApiUidMismatch()
    {
        const ulong NotSupported = ulong.MaxValue;
        Loop.Present = (ref registers) =>
        {
            registers.X0 = NotSupported;
            return true;
        };

        await AssertThatTheDriverSays(UidMismatch);
    }

    [Test]
    public async Task Registers_NotWrittenBack_AreAnApiUidMismatch()
    {
        Loop.Present = (ref _) => true;

        await AssertThatTheDriverSays(UidMismatch);
    }

    [Test]
    public async Task CapabilityExchange_Refused_IsACapabilitiesMismatch()
    {
        Loop.Present = (ref registers) =>
        {
            if (registers.FunctionId.Value != OpTeeSmc.ExchangeCapabilities)
            {
                return false;
            }

            registers.X0 = OpTeeSmc.ReturnNotAvailable;
            return true;
        };

        await AssertThatTheDriverSays(CapabilitiesMismatch);
    }

    [Test]
    public Task Capabilities_WithoutAnySharedMemory_FailTheProbeWithoutAReason() => WithOptionsAsync(
        new OpTeeGuestOptions { Capabilities = OpTeeCapabilities.NullMemoryReference },
        () => AssertThatTheDriverSays(ProbeFailed));

    [Test]
    public Task Interrupt_NotInTheDeviceTree_IsSaidByTheDriver() => WithOptionsAsync(
        new OpTeeGuestOptions { NotificationInterrupt = new UnconnectedLine() },
        () => AssertThatTheDriverSays(NoInterrupt));

    /// <summary>The stub of this machine traps each SMC, so that nothing can provoke this here.</summary>
    [Test]
    public void UndefinedInstruction_IsWhatTheKernelSaysOfAnSmcThatNothingTraps() =>
        Assert.That(Machine.KernelContains(Undefined), Is.True);

    private async Task WithOptionsAsync(OpTeeGuestOptions options, Func<Task> test)
    {
        ISmcHandler before = Loop.OpTee;
        await using OpTeeGuest faulty = new(Machine.Memory, _tee, options);
        Loop.OpTee = faulty;
        try
        {
            await test();
        }
        finally
        {
            Loop.OpTee = before;
        }
    }

    private async Task AssertThatTheDriverSays(string message)
    {
        string output = (await Machine.RunAsync("modprobe optee; dmesg")).Succeeded();
        Assert.That(output, Does.Contain(Probing).And.Contain(message).And.Not.Contain(Initialized));

        Loop.Present = null;
    }

    private sealed class UnconnectedLine : IInterruptLine
    {
        public int Spi => 10;

        public void Pulse()
        {
        }
    }
}
