using OpTeeMediator.Kvm;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Linux;

/// <summary>The size of a VM's guest addresses on hosts that have more or fewer than KVM's
/// default of 40 bits.</summary>
[TestFixture]
internal sealed class GuestAddressSizeTests
{
    private const ulong Gibibyte = 1 << 30;

    // The kernel's answer to KVM_CAP_ARM_VM_IPA_SIZE, where RAM begins, its size in GiB, and the machine type.
    [TestCase(0, 0x4000_0000ul, 1ul, 0ul, TestName = "ChooseMachineType_KernelWithoutTheCapability_IsTheDefault")]
    [TestCase(40, 0x4000_0000ul, 1ul, 0ul, TestName = "ChooseMachineType_HostWith40Bits_IsTheDefault")]
    [TestCase(48, 0x4000_0000ul, 512ul, 0ul, TestName = "ChooseMachineType_RamThatFits40Bits_IsTheDefault")]
    [TestCase(36, 0x4000_0000ul, 1ul, 36ul, TestName = "ChooseMachineType_HostWith36Bits_IsTheHosts")]
    [TestCase(36, 0x4000_0000ul, 63ul, 36ul, TestName = "ChooseMachineType_RamThatFits36Bits_IsTheHosts")]
    [TestCase(48, 0x4000_0000ul, 1024ul, 41ul, TestName = "ChooseMachineType_RamAbove1TiB_IsWhatItNeeds")]
    [TestCase(52, 0x8000_0000_0000ul, 1ul, 48ul, TestName = "ChooseMachineType_RamAt128TiB_IsWhatItNeeds")]
    public void ChooseMachineType_RamFits_ReturnsTheSize(int hostBits, ulong start, ulong gibibytes, ulong expected) =>
        Assert.That(
            GuestAddressSize.ChooseMachineType(hostBits, new GuestRange(start, gibibytes * Gibibyte).End.Value - 1),
            Is.EqualTo(expected));

    [TestCase(0, 1024ul, "41 bits", "40")]
    [TestCase(36, 64ul, "37 bits", "36")]
    [TestCase(48, 1024ul * 256, "49 bits", "48")]
    public void ChooseMachineType_RamDoesNotFit_SaysWhatTheHostHas(
        int hostBits, ulong gibibytes, string needed, string host)
    {
        GuestRange ram = new(0x4000_0000, gibibytes * Gibibyte);

        Assert.That(
            () => GuestAddressSize.ChooseMachineType(hostBits, ram.End.Value - 1),
            Throws.InstanceOf<NotSupportedException>().With.Message.Contains($"0x{ram.End.Value - 1:x}")
                .And.Message.Contains(needed).And.Message.Contains(host));
    }
}
