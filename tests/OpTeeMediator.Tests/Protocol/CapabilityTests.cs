using OpTeeMediator.Forwarding;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Companion;
using OpTeeMediator.Tests.Forwarding;
using OpTeeMediator.Tests.Memory;

namespace OpTeeMediator.Tests.Protocol;

/// <summary>
/// Capabilities of newer OP-TEEs: offered where they can be served, refused elsewhere so that Linux goes on.
/// </summary>
internal sealed class CapabilityTests
{
    // Notifications follow the interrupt, and without one they are not among what the guest sees; RPMB_PROBE is the
    // VMM's choice.
    private const ulong AllOfOpTee = 0x3ff;

    [TestCase(OpTeeCapabilities.UnregisteredSharedMemory)]
    [TestCase(OpTeeCapabilities.Virtualization)]
    [TestCase(OpTeeCapabilities.ProtectedMemory)]
    [TestCase(OpTeeCapabilities.DynamicProtectedMemory | OpTeeCapabilities.DynamicSharedMemory)]
    [TestCase((OpTeeCapabilities)(1 << 10))]
    public void Constructor_CapabilityThatCannotBeOffered_Throws(OpTeeCapabilities capabilities)
    {
        ForwarderBench bench = new();
        ArgumentException? guest = Assert.Throws<ArgumentException>(() =>
            _ = new OpTeeGuest(
                new ArrayGuestMemory(0, 4096),
                new ScriptedBackend(),
                new OpTeeGuestOptions { Capabilities = capabilities }));
        ArgumentException? forwarder = Assert.Throws<ArgumentException>(
            () => bench.Create(options: new OpTeeForwarderOptions { Capabilities = capabilities }));

        Assert.That(guest?.Message, Does.Contain(nameof(OpTeeGuestOptions.Capabilities)));
        Assert.That(forwarder?.Message, Does.Contain(nameof(OpTeeForwarderOptions.Capabilities)));
    }

    [TestCase(OpTeeCapabilities.None, 0x54ul)]
    [TestCase(OpTeeCapabilities.RpmbProbe, 0xd4ul)]
    public void ExchangeCapabilities_ForwarderOfANewerOpTee_OffersWhatTheVmmAllows(
        OpTeeCapabilities added, ulong expected)
    {
        ForwarderBench bench = new();
        bench.OpTee.Capabilities = AllOfOpTee;
        HostOpTee world = new(bench.OpTee);
        var memory = bench.MemoryOf(0);
        OpTeeForwarderOptions options = new();
        OpTeeForwarder forwarder =
            new(world, memory, memory, options with { Capabilities = options.Capabilities | added });
        FakeDriver driver = new(forwarder, memory, memory.Range);

        SmcRegisters answer = driver.Call(OpTeeSmc.ExchangeCapabilities);

        Assert.That((answer.X0, answer.X1), Is.EqualTo(((ulong)OpTeeSmc.ReturnOk, expected)));
        Assert.That(driver.Call(OpTeeSmc.GetProtectedMemoryConfig).X0, Is.EqualTo(OpTeeSmc.ReturnNotAvailable));
        Assert.That(
            bench.OpTee.Calls.Select(call => call.FunctionId.Value),
            Does.Not.Contain(OpTeeSmc.GetProtectedMemoryConfig));
    }

    [Test]
    public async Task ExchangeCapabilities_CompanionWithProtectedMemory_IsNotOffered()
    {
        await using CompanionBench bench = new();
        bench[1].Answer = [0, AllOfOpTee, 0, 4];

        Assert.That(
            bench.Call(OpTeeSmc.ExchangeCapabilities).X1,
            Is.EqualTo(0xdf),
            "all but notifications, protected memory, dynamic protected memory");
    }

    [Test]
    public async Task GetProtectedMemoryConfig_Companion_NotAvailableWithoutOpTee()
    {
        await using CompanionBench bench = new();
        bench[1].Answer = [0, 0x4000_0000, 0x20_0000, 64];
        bench[1].Written.Clear();

        SmcRegisters answer = bench.Call(OpTeeSmc.GetProtectedMemoryConfig);

        Assert.That((answer.X0, answer.X1), Is.EqualTo(((ulong)OpTeeSmc.ReturnNotAvailable, 0ul)));
        Assert.That(bench[1].Written, Is.Empty);
    }

    [TestCase(OpTeeMessage.CommandLendProtectedMemory)]
    [TestCase(OpTeeMessage.CommandReclaimProtectedMemory)]
    [TestCase(OpTeeMessage.CommandGetProtectedMemoryConfig)]
    [TestCase(OpTeeMessage.CommandAssignProtectedMemory)]
    public async Task ProtectedMemoryMessages_Guest_BadCommand(uint command)
    {
        ArrayGuestMemory memory = new(0x4000_0000, 1 << 16);
        await using OpTeeGuest guest = new(memory, new ScriptedBackend());
        FakeDriver driver = new(guest, memory, new GuestRange(0x4000_0000, 1 << 16));

        Assert.That(
            driver.TrySend(new GuestMessage(command, GuestParameter.ValueIn(1, 0))),
            Is.EqualTo(OpTeeSmc.ReturnBadCommand));
    }
}
