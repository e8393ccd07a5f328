namespace OpTeeMediator.Calls;

/// <summary>A prepared thread that runs the operations of one slot which may block.</summary>
internal sealed class CallWorker
{
    private const int Operation = 1;
    private const int Stopping = 2;

    private readonly Action _perform;
    private readonly ManualResetEventSlim _posted = new(false);
    private readonly Thread _thread;
    private int _work;

    /// <summary>Starts the thread.</summary>
    /// <param name="perform">Performs the slot's operation; never throws.</param>
    /// <param name="name">The thread's name.</param>
    public CallWorker(Action perform, string name)
    {
        _perform = perform;
        _thread = new Thread(Run) { IsBackground = true, Name = name };
        _thread.Start();
    }

    /// <summary>Whether the caller runs on this thread.</summary>
    public bool IsCurrent => Thread.CurrentThread == _thread;

    /// <summary>Has the slot's operation performed.</summary>
    public void Post() => Post(Operation);

    /// <summary>Ends the thread, once its operation is done.</summary>
    public void Stop() => Post(Stopping);

    private void Post(int work)
    {
        _ = Interlocked.Or(ref _work, work);
        _posted.Set();
    }

    private void Run()
    {
        while (true)
        {
            _posted.Wait();
            _posted.Reset();
            int work = Interlocked.Exchange(ref _work, 0);
            if ((work & Operation) != 0)
            {
                _perform();
            }

            if ((work & Stopping) != 0)
            {
                return;
            }
        }
    }
}
