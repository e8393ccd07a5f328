using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm;

/// <summary><c>struct kvm_clear_dirty_log</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmClearDirtyLog
{
    internal uint Slot;
    internal uint PageCount;
    internal ulong FirstPage;
    internal void* Bitmap;
}
