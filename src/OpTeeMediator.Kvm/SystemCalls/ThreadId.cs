namespace OpTeeMediator.Kvm.SystemCalls;

/// <summary>The kernel's number of the current thread.</summary>
internal static class ThreadId
{
    [ThreadStatic]
    private static int _cached;

    internal static int Current => _cached != 0 ? _cached : _cached = LibC.GetThreadId();
}
