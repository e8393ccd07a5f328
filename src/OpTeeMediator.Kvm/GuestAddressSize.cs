using System.Numerics;

namespace OpTeeMediator.Kvm;

/// <summary>The size of a VM's guest addresses, which is part of the machine type of KVM_CREATE_VM.</summary>
/// <remarks>
/// <code>
/// machine type, bits 7:0: the size in bits, 32 to KVM_CAP_ARM_VM_IPA_SIZE; 0 means 40
/// </code>
/// Source: Linux, Documentation/virt/kvm/api.rst, KVM_CREATE_VM. Some hosts have fewer than 40 bits and refuse 0;
/// kernels before 4.20 take nothing but 0.
/// </remarks>
internal static class GuestAddressSize
{
    private const int DefaultBits = 40;
    private const int LeastBits = 32;

    /// <summary>Chooses the machine type of a VM: KVM's default size, or the nearest that is possible.</summary>
    /// <param name="hostBits">What KVM answers for <see cref="KvmCapability.ArmGuestAddressBits"/>.</param>
    /// <param name="highestAddress">The last byte of the VM's memory and devices.</param>
    /// <exception cref="NotSupportedException">The address lies beyond what the host has.</exception>
    internal static ulong ChooseMachineType(int hostBits, ulong highestAddress)
    {
        int highestBits = hostBits == 0 ? DefaultBits : hostBits;
        int needed = int.Max(LeastBits, BitOperations.Log2(highestAddress | 1) + 1);
        if (needed > highestBits)
        {
            throw new NotSupportedException(
                $"Address 0x{highestAddress:x} needs guest addresses of {needed} bits; this host's KVM has"
                    + $" {highestBits} (KVM_CAP_ARM_VM_IPA_SIZE). Give the VM less memory, or at lower addresses.");
        }

        int bits = int.Max(needed, int.Min(DefaultBits, highestBits));
        return bits == DefaultBits ? 0 : (ulong)bits;
    }
}
