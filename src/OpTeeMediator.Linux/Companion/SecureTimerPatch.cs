using System.Runtime.InteropServices;

namespace OpTeeMediator.Linux.Companion;

/// <summary>Makes an image use the physical timer instead of the secure one, which a VM does not have.</summary>
/// <remarks>
/// CNTPS_TVAL_EL1, CNTPS_CTL_EL1 and CNTPS_CVAL_EL1 are undefined outside the secure world, and no hypervisor can trap
/// that. CNTP_TVAL_EL0, CNTP_CTL_EL0 and CNTP_CVAL_EL0 do the same, and their encodings differ in one bit.
/// <code>
/// MSR, MRS: 1101 0101 00 L 1 op0 op1:3 CRn:4 CRm:4 op2:3 Rt:5
/// CNTPS_*: op0 3, op1 7, CRn 14, CRm 2, op2 0–2; CNTP_*: op1 3
/// </code>
/// </remarks>
internal static class SecureTimerPatch
{
    // All but L, op2 and Rt; what then remains of an access to CNTPS_*; the bit of op1 to clear.
    private const uint Mask = 0xffdf_ff00;
    private const uint SecureTimer = 0xd51f_e200;
    private const uint SecondOperationBit = 1u << 18;
    private const int HighestRegister = 2;

    /// <summary>Patches an image. Returns the number of instructions changed.</summary>
    internal static int Apply(Span<byte> image)
    {
        int patched = 0;
        foreach (ref uint instruction in MemoryMarshal.Cast<byte, uint>(image))
        {
            if ((instruction & Mask) == SecureTimer && (instruction >> 5 & 7) <= HighestRegister)
            {
                instruction &= ~SecondOperationBit;
                patched++;
            }
        }

        return patched;
    }
}
