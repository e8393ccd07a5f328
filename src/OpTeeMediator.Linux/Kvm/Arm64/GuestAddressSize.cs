using System.Globalization;
using System.Numerics;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Kvm.Arm64;

/// <summary>The size of a VM's guest addresses, which is part of the machine type of KVM_CREATE_VM.</summary>
/// <remarks>
/// <code>
/// machine type, bits 7:0: the size in bits, 32 to KVM_CAP_ARM_VM_IPA_SIZE; 0 means 40
/// </code>
/// Source: Linux, Documentation/virt/kvm/api.rst, KVM_CREATE_VM. Some hosts have fewer than 40 bits and refuse 0; kernels before 4.20 take nothing but 0.
/// </remarks>
internal static class GuestAddressSize
{
    private const int DefaultBits = 40;
    private const int LeastBits = 32;

    /// <summary>Chooses the machine type of a VM: KVM's default size, or the nearest one that the host has and that the VM needs.</summary>
    /// <param name="hostBits">What KVM answers for <see cref="KvmCapability.ArmGuestAddressBits"/>.</param>
    /// <param name="addresses">Where the VM has memory or devices.</param>
    /// <returns>The machine type.</returns>
    /// <exception cref="NotSupportedException">A range lies beyond what the host has.</exception>
    internal static ulong ChooseMachineType(int hostBits, ReadOnlySpan<GuestRange> addresses)
    {
        int highestBits = hostBits == 0 ? DefaultBits : hostBits;
        int bits = int.Min(DefaultBits, highestBits);
        foreach (GuestRange range in addresses)
        {
            int needed = range.Length == 0 ? LeastBits : BitOperations.Log2((range.Start.Value + (range.Length - 1)) | 1) + 1;
            if (needed > highestBits)
            {
                throw new NotSupportedException(string.Create(
                    CultureInfo.InvariantCulture,
                    $"{range} needs guest addresses of {needed} bits; this host's KVM has {highestBits} (KVM_CAP_ARM_VM_IPA_SIZE). Give the VM less memory, or at lower addresses."));
            }

            bits = int.Max(bits, needed);
        }

        return bits == DefaultBits ? 0 : (ulong)bits;
    }
}
