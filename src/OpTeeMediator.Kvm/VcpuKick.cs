namespace OpTeeMediator.Kvm;

/// <summary>A kick of a vCPU: from the request, by any thread, to the answer of the thread that runs the vCPU.
/// </summary>
/// <remarks>
/// <para>KVM reads <c>immediate_exit</c> of <c>struct kvm_run</c> when the vCPU is about to enter the guest, and a
/// signal interrupts the guest. So a request sets the one and, if a thread runs the vCPU, sends it the other.</para>
/// <para>Only <see cref="Request"/> may be called by any thread; the page must stay mapped meanwhile.</para>
/// </remarks>
internal sealed unsafe class VcpuKick
{
    private readonly byte* _immediateExit;
    private int _runningThread;
    private bool _isKicked;

    /// <param name="immediateExit">The flag in <c>struct kvm_run</c>.</param>
    internal VcpuKick(byte* immediateExit) => _immediateExit = immediateExit;

    /// <summary>A thread is about to run the vCPU.</summary>
    /// <remarks>A full fence: either <see cref="Request"/> sees this thread, or KVM sees the flag that it has set.
    /// </remarks>
    internal void BeginRun(int thread) => _ = Interlocked.Exchange(ref _runningThread, thread);

    /// <summary>KVM_RUN has returned. A signal that comes later does nothing.</summary>
    internal void EndRun() => Volatile.Write(ref _runningThread, 0);

    /// <summary>Requests that the vCPU leaves the guest, or does not enter it the next time.</summary>
    /// <returns>The thread that runs it, for a signal; 0 if there is none, or if an earlier request has not been
    /// answered yet: that answer is this one's too.</returns>
    internal int Request()
    {
        if (Interlocked.Exchange(ref _isKicked, true))
        {
            return 0;
        }

        Volatile.Write(ref _immediateExit[0], 1);
        Interlocked.MemoryBarrier();
        return Volatile.Read(ref _runningThread);
    }

    /// <summary>The vCPU has left the guest because of a signal or of the flag.</summary>
    /// <remarks>In this order: a request that sees the earlier one pending leaves it at that, so the flag goes first.
    /// A full fence: the thread that made such a request has set what the vCPU is to do, and that is looked at after
    /// this.</remarks>
    internal void Answer()
    {
        Volatile.Write(ref _immediateExit[0], 0);
        _ = Interlocked.Exchange(ref _isKicked, false);
    }

    /// <summary>The next KVM_RUN is to complete an exit only.</summary>
    internal void BeginCompletion() => Volatile.Write(ref _immediateExit[0], 1);

    /// <summary>The exit is completed. A request that came meanwhile is for the next run.</summary>
    internal void EndCompletion()
    {
        Volatile.Write(ref _immediateExit[0], 0);
        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref _isKicked))
        {
            Volatile.Write(ref _immediateExit[0], 1);
        }
    }
}
