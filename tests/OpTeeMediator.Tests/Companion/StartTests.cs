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
    public void RemoveRegion_WhileACompanionMapsIt_IsRefused()
    {
        GuestRange first = new(0x4000_0000, 1 << 20);
        GuestRange second = new(0x5000_0000, 1 << 20);
        using KvmSystem kvm = KvmHost.OpenX86();
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(first, second);
        Exception? refusal = null;
        ListLoggerFactory log = new() { OnMessage = RemoveSecond };

        // This host's KVM refuses in the middle of the start, after the image was loaded.
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
}
