using System.Runtime.InteropServices;

namespace OpTeeMediator.Remote.Workers;

/// <summary>A condition on one argument of a system call: struct scmp_arg_cmp of libseccomp.</summary>
/// <param name="Argument">Which argument, from 0.</param>
/// <param name="Operator">How it is compared: one of SCMP_CMP_*.</param>
/// <param name="First">With what; for SCMP_CMP_MASKED_EQ the mask.</param>
/// <param name="Second">For SCMP_CMP_MASKED_EQ the value under the mask.</param>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct SeccompComparison(uint Argument, int Operator, ulong First, ulong Second = 0);
