using System.Collections.Immutable;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Calls;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Memory;
using OpTeeMediator.Messages;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Smccc;
using OpTeeMediator.State;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Guests;

/// <summary>The OP-TEE of one VM: answers its guest's SMCs and has a backend do the work.</summary>
/// <remarks>
/// <para>Create it before the VM's first instruction and dispose of it when the VM is gone, before the guest
/// memory and the backend.</para>
/// <para>Thread-safe: every vCPU thread may call <see cref="Handle"/> at any time, also while the guest is being
/// reset or disposed of.</para>
/// <para>Needs from X0–X17: X0 always; X1 and X2 for CALL_WITH_ARG and CALL_WITH_RPC_ARG; X1 to X3 for
/// CALL_WITH_REGD_ARG; X3 for RETURN_FROM_RPC, and X1, X2, X4, X5 if it answers an ALLOC; X1 for EXCHANGE_CAPABILITIES.
/// <see cref="OpTeeSmc"/> has the register tables.</para>
/// </remarks>
public sealed class OpTeeGuest : IGuestOpTee
{
    // Earlier driver instances that are not torn down yet; a guest that restarts its driver faster has to wait.
    private const int MaximumTeardowns = 4;

    private readonly OpTeeGuestOptions _options;
    private readonly ITeePartition _partition;
    private readonly NonThrowingGuestMemory _memory;
    private readonly MemoryBudget _budget;
    private readonly SharedBufferPool _buffers;
    private readonly FastCalls _fastCalls;
    private readonly YieldingCalls _calls;
    private readonly NonThrowingInterruptLine? _line;
    private readonly PauseControl _pause = new();
    private readonly ILogger _log;
    private readonly CallObserver _observer;
    private readonly Lock _lifeCycle = new();
    private readonly Teardown _teardown;
    private readonly MoveOutcome _outcome;
    private Task _lastReset = Task.CompletedTask;
    private Task? _disposal;
    private volatile bool _isDisposed;

    /// <inheritdoc cref="OpTeeGuest(IGuestMemory, ITeeBackend, OpTeeGuestOptions)" path="/*[not(self::summary)]"/>
    /// <summary>Gives a VM an OP-TEE with default options.</summary>
    public OpTeeGuest(IGuestMemory memory, ITeeBackend backend) : this(memory, backend, new OpTeeGuestOptions())
    {
    }

    /// <summary>Gives a VM an OP-TEE.</summary>
    /// <param name="memory">The VM's memory; it must outlive this object.</param>
    /// <param name="backend">The TEE; it must outlive this object.</param>
    /// <param name="options">How it behaves.</param>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">An option is outside its range; the message names it.</exception>
    /// <exception cref="TeeUnavailableException">The TEE cannot serve the VM; the message says why.</exception>
    public OpTeeGuest(IGuestMemory memory, ITeeBackend backend, OpTeeGuestOptions options)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(backend);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        if (!BitConverter.IsLittleEndian)
        {
            throw new PlatformNotSupportedException("OP-TEE's messages are little-endian, and so must the host be.");
        }

        _options = options;
        _log = new VmLogger(NonThrowingLogger.CreateForVm<OpTeeGuest>(options.LoggerFactory), options.Name);
        _observer = new CallObserver(options.Name, options.Trace);
        NonThrowingGuestMemory guestMemory = new(memory, _log);
        _memory = guestMemory;
        OpTeeLimits limits = options.Limits;
        _budget = new MemoryBudget(limits.Buffers, limits.Pages, limits.PagesPerBuffer);
        _buffers = new SharedBufferPool(guestMemory, _budget);
        _line = options.NotificationInterrupt is { } line ? new(line, _pause, _log) : null;
        DeviceTreeNode = new OpTeeDeviceTreeNode { Spi = _line?.Spi };
        ReservedMemory = options.ReservedSharedMemory is { } reserved ? [reserved] : [];
        TeeAccess access = options.Access ?? backend.DefaultAccess ?? TeeAccess.None;
        TeeVirtualMachine virtualMachine = new(
            options.Name, access, limits.Calls, new NonThrowingLoggerFactory(options.LoggerFactory))
        {
            Identity = options.Identity,
            MappingGranule = guestMemory.MappingGranule,
        };
        _partition = backend.CreatePartition(virtualMachine)
            ?? throw new TeeUnavailableException("The backend returned no partition.");
        _outcome = new MoveOutcome(_partition, _log);
        try
        {
            _fastCalls = new FastCalls(options, options.Revision ?? _partition.Revision ?? OpTeeRevision.Default);
            CallEnvironment environment = new(
                options.Name, guestMemory, options.ReservedSharedMemory, _partition, access, _buffers, limits.Calls,
                options.Quantum, options.SleepAfter, new NotificationQueue(_line), _pause, _log, _observer);
            _calls = new YieldingCalls(environment, NewDriverInstance());
            if (_line is not null)
            {
                _pause.Released += _line.PulseIfDue;
            }

            _teardown = new Teardown(_calls, _buffers, NewDriverInstance, options.Name, _log);
            GuestGauges.Shared.Add(this, options.Name);
            _log.GuestServed(
                backend.GetType().Name, access.Describe(), limits.Calls, limits.Sessions, limits.Buffers, limits.Pages,
                NonThrowingInterruptLine.Describe(_line));
        }
        catch
        {
            _calls?.StopWorkers();
            _line?.Dispose();
            DisposePartition();
            throw;
        }
    }

    /// <summary>The trusted OS (owner 50, fast and yielding) and its identification (owner 63, fast), SMC32.</summary>
    public ImmutableArray<SmcFunctionRange> Ranges => OpTeeFunctions.Ranges;

    /// <summary>The device-tree node by which the guest finds this OP-TEE.</summary>
    public OpTeeDeviceTreeNode DeviceTreeNode { get; }

    /// <inheritdoc/>
    /// <remarks><see cref="OpTeeGuestOptions.ReservedSharedMemory"/>, if that is set.</remarks>
    public ImmutableArray<GuestRange> ReservedMemory { get; }

    /// <summary>What the guest holds now.</summary>
    public OpTeeGuestStatus Status
    {
        get
        {
            int calls = 0;
            foreach (CallSlot slot in _calls.Slots.All)
            {
                // By what a teardown waits for: a slot without a driver instance is free, or about to be.
                calls += slot.DriverInstance is null ? 0 : 1;
            }

            return new OpTeeGuestStatus(calls, _calls.DriverInstance.Sessions.Count, _budget.Buffers, _budget.Pages);
        }
    }

    /// <inheritdoc/>
    /// <remarks>After disposal every call gets <see cref="SmcccReturn.NotSupported"/>.</remarks>
    public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded)
    {
        uint functionId = registers.FunctionId.WithoutHint.Value;
        return FastCalls.IsConstant(functionId) && !_isDisposed ? _fastCalls.Handle(functionId, ref registers)
            : HandleOther(functionId, ref registers, loaded);
    }

    /// <summary>The VM is reset: drops its calls, sessions and shared memory, resets the TEE
    /// (<see cref="ITeePartition.ResetAsync"/>), and leaves a usable handler.</summary>
    /// <returns>A task that ends when all is freed, or after <see cref="OpTeeGuestOptions.ShutdownDeadline"/>; what is
    /// not freed by then is freed when the calls that hold it end.</returns>
    /// <exception cref="ObjectDisposedException">This object was disposed of.</exception>
    /// <remarks>No vCPU of the guest runs meanwhile. Thread-safe.</remarks>
    public async Task ResetAsync()
    {
        Task reset;
        lock (_lifeCycle)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            _outcome.Commit();
            _pause.BeginEnding();
            Replace(_calls.DriverInstance, _teardown.Next());
            reset = ResetBackendAsync(_lastReset);
            _lastReset = reset;
        }

        _pause.Release();
        await WaitOrWarn(reset);
        _pause.EndEnding();
    }

    /// <inheritdoc/>
    /// <remarks>
    /// <para>As <see cref="IGuestOpTee.PauseAsync"/>, within <see cref="OpTeeGuestOptions.ShutdownDeadline"/>. An
    /// operation has come to a halt while it is with the guest (RPC), or waits in the way of
    /// <see cref="GuestServices.BeginWait"/>. How long others take is the backend's affair: a <c>SoftwareTeeBackend</c>
    /// halts applications wherever they wait for their guest, for time, for their turn, or for what they await; the
    /// host's TEE finishes the command that it is in.</para>
    /// <para>Calls in flight stay suspended in the guest, their results and the guest's answers with the mediator.
    /// Cancellations are handed on, and what a restarted driver has left is freed, afterwards. <see cref="ResetAsync"/>
    /// and <see cref="DisposeAsync"/> are not held.</para>
    /// </remarks>
    public async Task<bool> PauseAsync(CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        bool isPaused =
            await _pause.PauseAsync(() => _calls.AreQuiet, _options.ShutdownDeadline, cancellationToken);
        if (isPaused && _memory.IsTracked)
        {
            _calls.NotifyWritten();
        }

        return isPaused;
    }

    /// <summary>Lets no operation begin at the TEE, and waits until those that have begun are over, with their calls
    /// to the guest: then the VM can be saved without loss.</summary>
    /// <param name="cancellationToken">Withdraws the attempt.</param>
    /// <returns>A task that says whether no operation is left at the TEE. If not, this call has no effect: not all have
    /// ended within <see cref="OpTeeGuestOptions.ShutdownDeadline"/>, or <see cref="Resume"/> was called
    /// meanwhile.</returns>
    /// <exception cref="ObjectDisposedException">This object was disposed of.</exception>
    /// <exception cref="OperationCanceledException">The attempt was cancelled, and has no effect.</exception>
    /// <remarks>The vCPUs run meanwhile. New calls are suspended, and begin after <see cref="Resume"/>, here or where
    /// the state is restored. Then stop the vCPUs, <see cref="PauseAsync"/>, <see cref="SaveAsync"/>, and, when the VM
    /// goes on elsewhere, <see cref="AbandonAsync"/>.</remarks>
    public Task<bool> DrainAsync(CancellationToken cancellationToken = default) =>
        DrainAsync(_options.ShutdownDeadline, cancellationToken);

    /// <summary>As <see cref="DrainAsync(CancellationToken)"/>, with a deadline of its own.</summary>
    /// <param name="deadline">How long operations have to end, instead of
    /// <see cref="OpTeeGuestOptions.ShutdownDeadline"/>; <see cref="Timeout.InfiniteTimeSpan"/> for as long as it
    /// takes.</param>
    /// <param name="cancellationToken">Withdraws the attempt.</param>
    /// <returns>A task that says whether no operation is left at the TEE.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The deadline is negative.</exception>
    /// <exception cref="ObjectDisposedException">This object was disposed of.</exception>
    /// <exception cref="OperationCanceledException">The attempt was cancelled, and has no effect.</exception>
    public Task<bool> DrainAsync(TimeSpan deadline, CancellationToken cancellationToken = default)
    {
        if (deadline == Timeout.InfiniteTimeSpan)
        {
            deadline = TimeSpan.MaxValue;
        }

        ArgumentOutOfRangeException.ThrowIfLessThan(deadline, TimeSpan.Zero);
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        return _pause.DrainAsync(() => _calls.AreDrained, deadline, cancellationToken);
    }

    /// <summary>Saves what the guest has at its OP-TEE, for <see cref="RestoreAsync"/> in another process.</summary>
    /// <param name="options">How.</param>
    /// <returns>The state: some hundred bytes, and what the TEE has saved. The VM stays paused; it may be resumed, if
    /// the state is not restored elsewhere. If it is, then <see cref="AbandonAsync"/>.</returns>
    /// <exception cref="ArgumentException">An option is outside its range.</exception>
    /// <exception cref="InvalidOperationException">The VM is not paused (<see cref="PauseAsync"/>), or a vCPU is in
    /// <see cref="Handle"/>.</exception>
    /// <exception cref="ObjectDisposedException">This object was disposed of.</exception>
    /// <exception cref="OpTeeStateException">Something cannot move; the message says what.</exception>
    /// <remarks>
    /// <para>Saved are sessions, shared memory, suspended calls with what the guest was asked for, notifications, and
    /// what was agreed with the driver. What the guest knows of them stays valid: session ids, cookies, resume
    /// information.</para>
    /// <para>Sessions move if the partition can (<see cref="ISavableTeePartition"/>). An operation that is at the TEE
    /// cannot move: <see cref="DrainAsync(CancellationToken)"/> before the pause waits for them all. What an earlier
    /// driver has left is not saved.</para>
    /// </remarks>
    public async Task<byte[]> SaveAsync(OpTeeStateOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        foreach (CallSlot slot in _calls.Slots.All)
        {
            if (slot.State == CallState.Running)
            {
                throw new InvalidOperationException($"A vCPU is in {nameof(Handle)}: stop them all first.");
            }
        }

        if (!_pause.IsPaused || !_calls.AreQuiet)
        {
            throw new InvalidOperationException($"The VM is not paused: await {nameof(PauseAsync)} first.");
        }

        StateSaver saver = new(_calls, _partition, _calls.Enumeration);
        Agreement.Save(saver.Writer);
        await saver.SaveAsync(options.DropsWhatCannotMove);
        if (saver.DroppedCount > 0)
        {
            _log.SavedWithoutAll(saver.DroppedCount, saver.DescribeDropped());
        }

        return SealedState.Seal(saver.Writer.Written, _options.Identity, options.Key.Span);
    }

    /// <summary>Gives a VM the OP-TEE that <see cref="SaveAsync"/> has saved.</summary>
    /// <param name="memory">The VM's memory, as large as it was; its content is not looked at.</param>
    /// <param name="backend">The TEE.</param>
    /// <param name="options">How it behaves: with the same identity, notification interrupt and reserved memory, no
    /// fewer capabilities and no lower limits than when it was saved.</param>
    /// <param name="state">The state.</param>
    /// <param name="stateOptions">With the key with which it was saved.</param>
    /// <returns>The OP-TEE, paused: <see cref="Resume"/> it when the VM is complete. If it is disposed of instead, its
    /// applications are not told of an end: they go on where the state was saved.</returns>
    /// <exception cref="ArgumentException">An option is outside its range.</exception>
    /// <exception cref="OpTeeStateException">The state cannot be restored here; the message says why.</exception>
    /// <exception cref="TeeUnavailableException">The TEE cannot serve the VM; the message says why.</exception>
    public static async Task<OpTeeGuest> RestoreAsync(
        IGuestMemory memory, ITeeBackend backend, OpTeeGuestOptions options, ReadOnlyMemory<byte> state,
        OpTeeStateOptions stateOptions)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(stateOptions);
        stateOptions.Validate();
        StateReader reader = new(SealedState.Unseal(state.Span, options.Identity, stateOptions.Key.Span));
        OpTeeGuest guest = new(memory, backend, options);
        _ = guest._pause.TryConfirm(guest._pause.Attempt());
        guest._outcome.Begin();
        try
        {
            await guest.LoadAsync(reader);
            return guest;
        }
        catch
        {
            await guest.DisposeAsync();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Resume()
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        _outcome.Commit();
        _pause.Resume();
    }

    /// <summary>The VM goes on elsewhere, with the state that <see cref="SaveAsync"/> has returned: frees what it holds
    /// here, as <see cref="DisposeAsync"/> does, and tells its trusted applications of no end.</summary>
    /// <returns>A task that ends when all is freed, or after <see cref="OpTeeGuestOptions.ShutdownDeadline"/>; what is
    /// not freed by then is freed when the calls that hold it end.</returns>
    /// <exception cref="InvalidOperationException">The VM is not paused (<see cref="PauseAsync"/>): it may have gone on
    /// after it was saved.</exception>
    /// <exception cref="ObjectDisposedException">This object was disposed of.</exception>
    /// <remarks>
    /// <para>Call it when it is certain that the VM does not go on here: after this it cannot. No call that was held
    /// begins, and the VM's trusted storage is not touched any more. Sessions that could not move, such as those with
    /// the host's TEE, are closed.</para>
    /// <para>A VM that was restored and was not resumed is abandoned by <see cref="DisposeAsync"/>, too.</para>
    /// </remarks>
    public async Task AbandonAsync()
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        if (!_pause.IsPaused || !_calls.AreQuiet)
        {
            throw new InvalidOperationException($"The VM is not paused: await {nameof(PauseAsync)} first.");
        }

        _outcome.Begin();
        await DisposeAsync();
    }

    /// <summary>The VM is destroyed: ends its calls, closes its sessions, unpins its memory, tells the TEE.</summary>
    /// <returns>A task that ends when all is freed, or after <see cref="OpTeeGuestOptions.ShutdownDeadline"/>; what is
    /// not freed by then is freed when the calls that hold it end.</returns>
    /// <remarks>May be called at any time, from any thread, and more than once.</remarks>
    public async ValueTask DisposeAsync()
    {
        Task disposal;
        lock (_lifeCycle)
        {
            if (!_isDisposed)
            {
                _isDisposed = true;
                _outcome.Abandon();
                _pause.BeginEnding();
                Replace(_calls.DriverInstance, _calls.DriverInstance);
                _disposal = WithdrawAsync(_lastReset);
            }

            disposal = _disposal!;
        }

        _pause.Release();
        await WaitOrWarn(disposal);
    }

    private SmcOutcome HandleOther(uint functionId, ref SmcRegisters registers, SmcRegisterSet loaded)
    {
        SmcRegisterSet needed = OpTeeRegisters.NeededBy(functionId);
        if (functionId == OpTeeSmc.ReturnFromRpc && loaded.Contains(needed))
        {
            needed = _calls.RegistersToResume(registers.X3);
        }

        if (!loaded.Contains(needed))
        {
            return SmcOutcome.NeedsRegisters(needed);
        }

        return _observer.IsTracing ? HandleTraced(functionId, ref registers) : Answer(functionId, ref registers);
    }

    private SmcOutcome HandleTraced(uint functionId, ref SmcRegisters registers)
    {
        long started = CallObserver.BeginSmc();
        SmcOutcome outcome = Answer(functionId, ref registers);
        _observer.EndSmc(functionId, registers.X0, started);
        return outcome;
    }

    private SmcOutcome Answer(uint functionId, ref SmcRegisters registers)
    {
        CallSlot? held = null;
        try
        {
            return Dispatch(functionId, ref registers, ref held);
        }
        catch (Exception exception)
        {
            // By design nothing throws here. The guest must get an answer all the same.
            if (held is not null)
            {
                _calls.Abort(held);
            }

            _log.CallFailed(functionId, exception);
            return registers.AnswerX0(OpTeeSmc.ReturnNoMemory);
        }
    }

    private SmcOutcome Dispatch(uint functionId, ref SmcRegisters registers, ref CallSlot? held)
    {
        if (_isDisposed)
        {
            return OpTeeFunctions.Contains(new SmcFunctionId(functionId))
                ? registers.AnswerX0(SmcccReturn.NotSupported)
                : SmcOutcome.NotHandled;
        }

        switch (functionId)
        {
            case OpTeeSmc.CallWithRegisteredArgument:
            case OpTeeSmc.CallWithArgument:
            case OpTeeSmc.CallWithRpcArgument:
                return _calls.Start(ref registers, ref held);

            case OpTeeSmc.ReturnFromRpc:
                return _calls.Resume(ref registers, ref held);

            case OpTeeSmc.ExchangeCapabilities:
                return ExchangeCapabilities(ref registers);

            case OpTeeSmc.EnableShmCache when IsIdle:
                _calls.DriverInstance.RpcBuffers.Enable();
                return registers.AnswerX0(OpTeeSmc.ReturnOk);

            case OpTeeSmc.DisableShmCache when IsIdle:
                return DisableShmCache(ref registers);

            case OpTeeSmc.EnableShmCache:
            case OpTeeSmc.DisableShmCache:
                return registers.AnswerX0(OpTeeSmc.ReturnBusy);

            case OpTeeSmc.EnableAsyncNotification when _calls.Notifications.IsAvailable:
                _calls.Notifications.Enable();
                return registers.AnswerX0(OpTeeSmc.ReturnOk);

            case OpTeeSmc.GetAsyncNotificationValue when _calls.Notifications.IsAvailable:
                return TakeNotification(ref registers);

            default:
                return DispatchRest(functionId, ref registers);
        }
    }

    private SmcOutcome DisableShmCache(ref SmcRegisters registers)
    {
        if (!_calls.DriverInstance.RpcBuffers.TryEmpty(out RpcBuffer buffer))
        {
            return registers.AnswerX0(OpTeeSmc.ReturnNotAvailable);
        }

        return registers.AnswerX0ToX2(OpTeeSmc.ReturnOk, buffer.Cookie >> 32, (uint)buffer.Cookie);
    }

    private SmcOutcome TakeNotification(ref SmcRegisters registers)
    {
        bool isValid = _calls.Notifications.TryTake(out uint value, out bool hasMore);
        return registers.AnswerX0ToX2(
            OpTeeSmc.ReturnOk, value,
            (isValid ? OpTeeSmc.NotificationValueIsValid : 0) | (hasMore ? OpTeeSmc.NotificationsArePending : 0));
    }

    private SmcOutcome DispatchRest(uint functionId, ref SmcRegisters registers)
    {
        SmcFunctionId id = new(functionId);
        if (!OpTeeFunctions.Contains(id))
        {
            return SmcOutcome.NotHandled;
        }

        return id.IsFast
            ? _fastCalls.Handle(functionId, ref registers)
            : Refuse(ref registers, OpTeeSmc.ReturnBadCommand, RefusalReason.UnknownCall);
    }

    private SmcOutcome ExchangeCapabilities(ref SmcRegisters registers)
    {
        const uint Uniprocessor = 1;
        if (((uint)registers.X1 & ~Uniprocessor) != 0)
        {
            return Refuse(ref registers, OpTeeSmc.ReturnNotAvailable, RefusalReason.UnknownCapability);
        }

        if (!TryBeginDriverInstance())
        {
            return Refuse(ref registers, OpTeeSmc.ReturnNotAvailable, RefusalReason.EarlierDriver);
        }

        OpTeeCapabilities capabilities = OfferedCapabilities;
        ulong rpcParameters =
            (capabilities & OpTeeCapabilities.RpcArgument) != 0 ? (ulong)RpcMessages.ParameterCount : 0;
        ulong highest = _calls.Notifications.IsAvailable ? NotificationQueue.HighestValue : 0;
        return registers.Answer(OpTeeSmc.ReturnOk, (ulong)capabilities, highest, rpcParameters);
    }

    private bool TryBeginDriverInstance()
    {
        if (!_options.ResetOnCapabilityExchange)
        {
            return true;
        }

        DriverInstance present;
        lock (_lifeCycle)
        {
            present = _calls.DriverInstance;
            if (present.IsEmpty && _calls.Slots.CountOf(present) == 0)
            {
                _calls.Notifications.Reset();
                return true;
            }

            if (_isDisposed || _teardown.Count >= MaximumTeardowns)
            {
                return false;
            }

            Replace(present, _teardown.Next());
        }

        // Mostly done within the quantum, so that the new driver finds the whole budget.
        _ = present.WaitUntilFreed(_options.Quantum);
        return true;
    }

    private void Replace(DriverInstance present, DriverInstance next)
    {
        _log.DriverEnds(present.Sessions.Count, present.Memory.Count, _calls.Slots.CountOf(present));
        _calls.DriverInstance = next;
        _calls.Notifications.Reset();
        _teardown.Begin(present);
    }

    private async Task ResetBackendAsync(Task earlierReset)
    {
        await earlierReset;
        await _teardown.WhenAllEnded();
        if (await _calls.Operations.ResetAsync() is { } failure)
        {
            _log.BackendResetFailed(failure);
        }
    }

    private async Task WithdrawAsync(Task lastReset)
    {
        await lastReset;
        await _teardown.WhenAllEnded();
        _teardown.Stop();
        _calls.StopWorkers();
        _line?.Dispose();
        GuestGauges.Shared.Remove(this);
        if (await _calls.Operations.DisposeAsync() is { } failure)
        {
            _log.TeardownFailed(0, failure);
        }
    }

    private void DisposePartition()
    {
        try
        {
            _partition.DisposeAsync().AsTask().GetAwaiter().GetResult();
        }
        catch (Exception exception)
        {
            _log.TeardownFailed(0, exception);
        }
    }

    private async Task WaitOrWarn(Task work)
    {
        try
        {
            await work.WaitAsync(_options.ShutdownDeadline);
        }
        catch (TimeoutException)
        {
            _log.CallsOutliveGuest(Status.CallsInFlight, _options.ShutdownDeadline);
        }
    }

    private async Task LoadAsync(StateReader reader)
    {
        Agreement.Check(reader);
        StateLoader loader = new(_calls, _partition, _buffers, _calls.Enumeration);
        try
        {
            await loader.LoadAsync(reader, _options.Limits.Sessions, _options.Limits.Buffers);
            reader.End();
        }
        catch (Exception exception)
        {
            _outcome.Abandon();
            if (await loader.CloseUntakenAsync() is { } failure)
            {
                _log.TeardownFailed(0, failure);
            }

            if (exception is OpTeeStateException or TeeUnavailableException)
            {
                throw;
            }

            throw new OpTeeStateException($"The TEE has failed to restore the state: {exception.Message}", exception);
        }
    }

    /// <summary>What the driver is told.</summary>
    private DriverAgreement Agreement =>
        new(OfferedCapabilities, (uint)(_line?.Spi ?? 0), _options.ReservedSharedMemory);

    private OpTeeCapabilities OfferedCapabilities
    {
        get
        {
            const OpTeeCapabilities Derived =
                OpTeeCapabilities.ReservedSharedMemory | OpTeeCapabilities.AsynchronousNotifications;
            return (_options.Capabilities & ~Derived)
                | (_calls.Notifications.IsAvailable ? OpTeeCapabilities.AsynchronousNotifications : 0)
                | (_options.ReservedSharedMemory is null ? 0 : OpTeeCapabilities.ReservedSharedMemory);
        }
    }

    private bool IsIdle => _calls.Slots.CountOf(_calls.DriverInstance) == 0;

    private DriverInstance NewDriverInstance() => new(_options.Limits.Sessions, _options.Limits.Buffers);

    private SmcOutcome Refuse(ref SmcRegisters registers, uint answer, string reason)
    {
        _log.CallRefused(registers.FunctionId.Value, (uint)registers.X1, answer, reason);
        _observer.Refuse(reason);
        return registers.AnswerX0(answer);
    }
}
