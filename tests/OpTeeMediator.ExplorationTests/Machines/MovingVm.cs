using System.Collections.Immutable;
using OpTeeMediator.Backends;
using OpTeeMediator.Calls;
using OpTeeMediator.ExplorationTests.Scheduling;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.ExplorationTests.Machines;

/// <summary>A VM that moves to another process while threads of its guest make calls, which may sleep.</summary>
/// <remarks>Thread 0 uses an application that runs inline, thread 1 one on workers; thread 2 cancels, or starts the
/// driver again.</remarks>
internal sealed class MovingVm : ISmcHandler
{
    private const int Threads = 3;
    private const ulong Cookie = 0x10;
    private const int PagesOfThread = 4;
    private const uint CancelId = 1;

    private static readonly Guid[] s_applications = [Guid.Empty, MovingBackend.OnWorker, Guid.Empty];

    private readonly FakeDriver[] _threads = new FakeDriver[Threads];
    private readonly uint[] _sessions = new uint[Threads];
    private readonly HashSet<uint> _notified = [];
    private readonly HashSet<uint> _began = [];
    private readonly HashSet<uint> _succeeded = [];
    private readonly ExploredMemory _memory = new();
    private readonly MovingBackend _backend;
    private readonly ExploredProcess _first;
    private ExploredProcess _process;
    private MovingBackend _presentBackend;
    private bool _isStopped;
    private bool _isRestarted;
    private int _working;

    public MovingVm()
    {
        _backend = new MovingBackend(_began);
        _first = new ExploredProcess(_memory, _backend, Threads, TimeSpan.Zero, canSleep: true);
        _process = _first;
        _presentBackend = _backend;
        for (int thread = 0; thread < Threads; thread++)
        {
            ulong pages = ExploredMemory.Start + ((ulong)thread * PagesOfThread * GuestPages.PageSize);
            _threads[thread] = new FakeDriver(
                this, _memory, new GuestRange(pages, PagesOfThread * GuestPages.PageSize))
            {
                OnRpc = Answer,
                RpcCookie = pages,
            };
        }

        _ = _threads[0].Register([ExploredMemory.Start], 0, OpTeeMessage.PageSize, Cookie);

        // One of them has room for RPC messages in its calls, the other is asked for it.
        _threads[1].Conduit = OpTeeSmc.CallWithArgument;
        _process.Calls.Notifications.Enable();
    }

    ImmutableArray<SmcFunctionRange> ISmcHandler.Ranges => [];

    /// <summary>Whether each operation that has succeeded has begun, and nothing is left in either process.</summary>
    public bool IsComplete =>
        _succeeded.IsSubsetOf(_began) && _backend.IsEmpty && _first.IsEmpty && _presentBackend.IsEmpty
        && _process.IsEmpty;

    /// <summary>A thread of the guest opens a session and makes an invocation in it.</summary>
    /// <param name="thread">Which, and which operation it is for the backend.</param>
    /// <param name="mayDie">Whether its operations may be dropped.</param>
    public void Invoke(int thread, bool mayDie)
    {
        FakeDriver driver = _threads[thread];
        if (!IsAnswered(driver, FakeDriver.Opening(s_applications[thread], default, 0), mayDie))
        {
            return;
        }

        _sessions[thread] = driver.ReadMessage(driver.MessagePage).Session;
        GuestMessage invocation = new(OpTeeMessage.CommandInvoke, GuestParameter.RegisteredIn(0, 16, Cookie))
        {
            Session = _sessions[thread],
            Function = (uint)thread,
            CancelId = CancelId,
        };
        if (IsAnswered(driver, invocation, mayDie))
        {
            _ = _succeeded.Add((uint)thread);
        }
    }

    /// <summary>A thread of the guest makes an invocation for a driver that may end meanwhile: any answer will do, and
    /// none.</summary>
    /// <param name="thread">Which, and which operation it is for the backend.</param>
    public void InvokeForEndingDriver(int thread)
    {
        FakeDriver driver = _threads[thread];
        if (driver.TrySend(FakeDriver.Opening(s_applications[thread], default, 0)) == OpTeeSmc.ReturnOk)
        {
            uint session = driver.ReadMessage(driver.MessagePage).Session;
            _ = driver.TrySend(
                new GuestMessage(OpTeeMessage.CommandInvoke) { Session = session, Function = (uint)thread });
        }
    }

    /// <summary>A driver starts again in the guest, registers a buffer of its own and makes an invocation with
    /// it.</summary>
    /// <param name="mayDie">Whether its operations may be dropped.</param>
    public void RestartAndInvoke(bool mayDie)
    {
        Explorer.WaitUntil(() => !_isStopped, "vCPU runs");
        _working++;
        _process.Restart();
        _isRestarted = true;
        _working--;
        if (_threads[2].Register([ExploredMemory.Start], 0, OpTeeMessage.PageSize, Cookie).ReturnCode != 0)
        {
            Explorer.Fail("The new driver's buffer was not registered.");
        }

        Invoke(2, mayDie);
    }

    /// <summary>A thread of the guest cancels what another makes, or has made; the backend does not care.</summary>
    public void Cancel(int thread)
    {
        FakeDriver driver = _threads[Threads - 1];
        GuestMessage cancellation =
            new(OpTeeMessage.CommandCancel) { Session = _sessions[thread], CancelId = CancelId };
        if (driver.TrySend(cancellation) != OpTeeSmc.ReturnOk)
        {
            Explorer.Fail("The cancellation was not answered.");
        }
    }

    /// <summary>Saves the VM, restores it in another process, and lets it go on there; what is left of it here is
    /// destroyed.</summary>
    /// <param name="drains">Whether operations end before; otherwise they are dropped.</param>
    public void Move(bool drains)
    {
        if (drains)
        {
            _first.Drain();
        }

        _isStopped = true;
        Explorer.WaitUntil(() => _working == 0, "vCPUs stop");
        _first.Pause();
        _backend.IsPaused = true;
        byte[] state = _first.Save(dropsWhatCannotMove: !drains);
        MovingBackend backend = new(_began);
        ExploredProcess next = new(new ExploredMemory(_memory), backend, Threads, TimeSpan.Zero, canSleep: true);
        next.Restore(state);
        _presentBackend = backend;
        _process = next;
        _isStopped = false;
        _backend.IsPaused = false;
        _first.Dispose();
    }

    /// <summary>The VM is destroyed.</summary>
    public void Dispose() => _process.Dispose();

    SmcOutcome ISmcHandler.Handle(ref SmcRegisters registers, SmcRegisterSet loaded)
    {
        bool isResumption = registers.FunctionId.WithoutHint.Value == OpTeeSmc.ReturnFromRpc;
        if (isResumption)
        {
            // The guest's thread gets to other work before it resumes the call.
            Explorer.Yield();
        }

        Explorer.WaitUntil(() => !_isStopped, "vCPU runs");
        _working++;
        CallSlot? held = null;
        SmcOutcome outcome = isResumption ? _process.Calls.Resume(ref registers, ref held)
            : _process.Calls.Start(ref registers, ref held);
        _working--;
        return outcome;
    }

    /// <returns>Whether with success; otherwise it was dropped.</returns>
    private static bool IsAnswered(FakeDriver driver, GuestMessage message, bool mayDie)
    {
        uint answer = driver.TrySend(message);
        TeeReturnCode code = (TeeReturnCode)driver.ReadMessage(driver.MessagePage).ReturnCode;
        if (answer != OpTeeSmc.ReturnOk
            || !(code == TeeReturnCode.Success || (mayDie && code == TeeReturnCode.TargetDead)))
        {
            Explorer.Fail($"Command {message.Command} was answered 0x{answer:x} and {code}.");
        }

        return code == TeeReturnCode.Success;
    }

    // What the guest's kernel does: a thread sleeps until its notification is there, whichever thread has fetched it.
    // Those of an earlier driver sleep no more.
    private GuestMessage Answer(GuestMessage asked)
    {
        bool sleeps = asked.Command == OpTeeRpc.Notification && asked.Parameters[0].A == OpTeeRpc.NotificationWait;
        while (sleeps && !_isRestarted && !_notified.Remove((uint)asked.Parameters[0].B))
        {
            Explorer.Yield();
            Explorer.WaitUntil(() => !_isStopped, "vCPU runs");
            _working++;
            if (_process.Calls.Notifications.TryTake(out uint value, out _))
            {
                _ = _notified.Add(value);
            }

            _working--;
        }

        return asked with { ReturnCode = 0 };
    }
}
