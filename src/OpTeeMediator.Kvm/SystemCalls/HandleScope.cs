using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm.SystemCalls;

/// <summary>Keeps what a handle stands for open or mapped, even if another thread disposes of it meanwhile.</summary>
internal readonly ref struct HandleScope
{
    private readonly SafeHandle _handle;

    /// <exception cref="ObjectDisposedException">The handle is disposed of.</exception>
    internal HandleScope(SafeHandle handle)
    {
        bool isReferenced = false;
        handle.DangerousAddRef(ref isReferenced);
        _handle = handle;
    }

    internal int Descriptor => (int)_handle.DangerousGetHandle();

    public void Dispose() => _handle.DangerousRelease();
}
