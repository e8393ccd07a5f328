using OpTeeMediator.Kvm;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Tests.Linux;

namespace OpTeeMediator.Tests.Companion;

/// <summary>A companion on a host that cannot have one.</summary>
[TestFixture]
internal sealed class StartTests
{
    [Test]
    public void Start_OnAHostThatIsNotArm64_SaysSo()
    {
        using KvmSystem kvm = KvmHost.OpenX86();
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(new GuestRange(0x4000_0000, 1 << 20));

        Assert.That(() => OpTeeCompanion.Start(kvm, memory, CompanionBench.Options()),
            Throws.InstanceOf<NotSupportedException>().With.Message.Contains("arm64"));
    }

    [Test]
    public void Start_WithoutKvm_OpensTheHostsAndClosesIt()
    {
        KvmHost.OpenX86().Dispose();
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(new GuestRange(0x4000_0000, 1 << 20));
        int before = CountKvmFiles();

        Assert.That(() => OpTeeCompanion.Start(memory, CompanionBench.Options()),
            Throws.InstanceOf<NotSupportedException>().With.Message.Contains("arm64"));
        Assert.That(() => OpTeeCompanion.Start(memory.Regions, CompanionBench.Options()),
            Throws.InstanceOf<NotSupportedException>().With.Message.Contains("arm64"));

        Assert.That(CountKvmFiles(), Is.EqualTo(before));
    }

    // A wrong argument is told of on a host without KVM too.
    [Test]
    public void Start_RegionsThatOverlap_NamesBoth() =>
        Assert.That(
            () => OpTeeCompanion.Start(
                [
                    new(new GuestRange(0x4000_0000, 1 << 20), 1 << 20),
                    new(new GuestRange(0x4008_0000, 1 << 20), 1 << 24),
                ],
                CompanionBench.Options()),
            Throws.ArgumentException.With.Message.Contains("0x40080000").And.Message.Contains("0x40000000"));

    [Test]
    public void RemoveRegion_WhileACompanionMapsIt_IsRefused()
    {
        GuestRange first = new(0x4000_0000, 1 << 20);
        GuestRange second = new(0x5000_0000, 1 << 20);
        using KvmSystem kvm = KvmHost.OpenX86();
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(first, second);
        Exception? refusal = null;
        ListLoggerFactory log = new() { OnMessage = RemoveSecond };

        // This host's KVM refuses in the middle of the start, after the guest's memory was mapped.
        Assert.That(() => OpTeeCompanion.Start(kvm, memory, CompanionBench.Options() with { LoggerFactory = log }),
            Throws.InstanceOf<NotSupportedException>());

        Assert.That(refusal, Is.InstanceOf<InvalidOperationException>());
        Assert.That(memory.RemoveRegion(second.Start), Is.True, "the companion is gone");

        void RemoveSecond()
        {
            try
            {
                _ = memory.RemoveRegion(second.Start);
            }
            catch (InvalidOperationException exception)
            {
                refusal = exception;
            }
        }
    }

    [Test]
    public void Start_WhereGuestRamIsOpTees_SaysSo()
    {
        using KvmSystem kvm = KvmHost.OpenX86();
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(new GuestRange(0x0e00_0000, 2 << 20));

        Assert.That(() => OpTeeCompanion.Start(kvm, memory, CompanionBench.Options()),
            Throws.ArgumentException.With.Message.Contains("secure memory"));
    }

    private static int CountKvmFiles() =>
        Directory.GetFiles("/proc/self/fd").Count(path =>
            new FileInfo(path).LinkTarget?.EndsWith("/kvm", StringComparison.Ordinal) == true);
}
