using OpTeeMediator.Backends;

namespace OpTeeMediator.Calls;

/// <summary>A prepared thread that runs the operations of one slot which may block.</summary>
internal sealed class CallWorker
{
    private readonly YieldingCalls _calls;
    private readonly CallSlot _slot;
    private readonly ManualResetEventSlim _posted = new(false);
    private volatile bool _isStopping;

    public CallWorker(YieldingCalls calls, CallSlot slot, string name)
    {
        _calls = calls;
        _slot = slot;
        new Thread(Run) { IsBackground = true, Name = name }.Start();
    }

    /// <summary>Has the slot's operation performed.</summary>
    public void Post() => _posted.Set();

    /// <summary>Ends the thread, once its operation is done.</summary>
    public void Stop()
    {
        _isStopping = true;
        _posted.Set();
    }

    private void Run()
    {
        while (true)
        {
            _posted.Wait();
            _posted.Reset();
            if (_isStopping)
            {
                _posted.Dispose();
                return;
            }

            if (_calls.TryPerform(_slot, out TeeResult result))
            {
                _slot.Complete(result);
            }
        }
    }
}
