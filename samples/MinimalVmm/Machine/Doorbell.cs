namespace MinimalVmm.Machine;

/// <summary>The I/O ports by which the guest calls the VMM: an x86 guest has no <c>smc</c> instruction.</summary>
internal enum Doorbell : byte
{
    /// <summary>The stand-in for <c>smc #0</c>: Xn of the SMC Calling Convention is R(8+n).</summary>
    Smc = 0x5c,

    /// <summary>A check failed: RBP is its number, RCX what was expected, RAX what was found, RDI where (if it is about memory).</summary>
    Failed = 0xfa,

    /// <summary>The program is through: RBP is the number of checks that passed.</summary>
    Finished = 0xf1,
}
