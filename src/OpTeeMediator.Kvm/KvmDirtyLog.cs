using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm;

/// <summary><c>struct kvm_dirty_log</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmDirtyLog
{
    internal uint Slot;
    internal uint Reserved;
    internal void* Bitmap;
}
