using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm;

/// <summary><c>struct kvm_one_reg</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmOneRegister
{
    internal ulong Id;
    internal void* Address;
}
