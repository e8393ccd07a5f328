using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.InterleavingTests;

/// <summary>A VM with several vCPUs, the core with its interleaving points, and a backend
/// that the test writes.</summary>
internal sealed class InterleavedVm : IAsyncDisposable
{
    private const ulong RamStart = 0x4000_0000;
    private const int RamLength = 16 << 20;
    private const int RamOfOne = 1 << 20;

    private ulong _next = RamStart;

    public InterleavedVm(OpTeeGuestOptions? options = null, ScriptedBackend? backend = null)
    {
        Backend = backend ?? new ScriptedBackend();
        Guest = new OpTeeGuest(Memory, Backend, options ?? new OpTeeGuestOptions());
    }

    public static Guid Application { get; } = new("5b9e0e40-2636-11e1-ad9e-0002a5d5c51b");

    public PinnedArrayMemory Memory { get; } = new(RamStart, RamLength);

    public ScriptedBackend Backend { get; }

    public OpTeeGuest Guest { get; }

    /// <summary>A vCPU with a driver and pages of its own.</summary>
    public FakeDriver AddCpu()
    {
        FakeDriver driver = new(Guest, Memory, new GuestRange(_next, RamOfOne));
        _next += RamOfOne;
        return driver;
    }

    public static uint Open(FakeDriver driver)
    {
        GuestMessage answer = driver.OpenSession(Application);
        Assert.That(answer.ReturnCode, Is.Zero, "The session should open.");
        return answer.Session;
    }

    public static ulong Share(FakeDriver driver, ulong cookie)
    {
        ulong page = driver.AllocatePage();
        Assert.That(driver.Register([page], 0, OpTeeMessage.PageSize, cookie).ReturnCode, Is.Zero,
            "The registration should succeed.");
        return page;
    }

    /// <summary>Disposes of the guest and shows that nothing is left.</summary>
    public async ValueTask DisposeAsync()
    {
        await Guest.DisposeAsync();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Guest.Status, Is.EqualTo(OpTeeGuestStatus.Nothing), "Nothing is held after disposal.");
            Assert.That(Memory.Pinned, Is.Zero, "Nothing is pinned after disposal.");
            Assert.That(Memory.Strays, Is.Zero, "Each buffer was pinned and unpinned once.");
        }
    }
}
