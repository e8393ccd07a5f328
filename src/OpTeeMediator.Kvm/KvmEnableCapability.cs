using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm;

/// <summary><c>struct kvm_enable_cap</c>.</summary>
[StructLayout(LayoutKind.Sequential, Size = 104)]
internal struct KvmEnableCapability
{
    internal uint Capability;
    internal uint Flags;
    internal ArgumentWords Arguments;

    [InlineArray(Count)]
    internal struct ArgumentWords
    {
        internal const int Count = 4;

        private ulong _element0;
    }
}
