using System.Collections.Immutable;
using System.Globalization;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Calls;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Messages;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Forwarding;

/// <summary>Forwards the SMCs of one VM to an OP-TEE that is built for virtualization.</summary>
/// <remarks>
/// <para>For hypervisors and VMMs that can make SMCs themselves and know the physical addresses of guest memory; others
/// use <see cref="OpTeeGuest"/>. What it does between guest and OP-TEE: it notifies OP-TEE when the VM is created and
/// destroyed; it tells OP-TEE with each call which VM calls (X7); it translates the guest's addresses in messages and
/// page lists into physical ones; it keeps shared pages pinned until OP-TEE has released them; and it shows the guest
/// nothing but OP-TEE's own interface.</para>
/// <para>Create it before the VM's first instruction and dispose of it after the VM, before the guest memory.</para>
/// <para>Thread-safe: every vCPU thread may call <see cref="Handle"/> at any time, also during a reset.</para>
/// <para>Needs from X0–X17 what <see cref="OpTeeGuest"/> needs.</para>
/// </remarks>
public sealed class OpTeeForwarder : IGuestOpTee
{
    // How long a vCPU of a paused VM is held before the guest takes its interrupts: a timer tick of many a Linux.
    private static readonly TimeSpan HoldAtMost = TimeSpan.FromMilliseconds(4);

    private readonly HostOpTee _opTee;
    private readonly OpTeeForwarderOptions _options;
    private readonly VmResources _vm;
    private readonly VmPhases _phases = new();
    private readonly VmRegistration _registration;
    private readonly ForwardedCalls _calls;
    private readonly ForwardedFastCalls _fastCalls;
    private readonly DeferredRequests _deferred = new();
    private readonly DriverRestart _restart;
    private readonly NonThrowingInterruptLine? _line;
    private readonly VmPause _pause = new();
    private readonly CallObserver _observer;
    private readonly ILogger _log;
    private TaskCompletionSource? _disposal;

    /// <inheritdoc cref="OpTeeForwarder(HostOpTee, IGuestMemory, IPhysicalMemory, OpTeeForwarderOptions)"
    ///   path="/*[not(self::summary)]"/>
    /// <summary>Creates a VM in OP-TEE, with default options.</summary>
    public OpTeeForwarder(HostOpTee opTee, IGuestMemory memory, IPhysicalMemory physical)
        : this(opTee, memory, physical, new OpTeeForwarderOptions())
    {
    }

    /// <summary>Creates a VM in OP-TEE.</summary>
    /// <param name="opTee">The OP-TEE of this computer.</param>
    /// <param name="memory">The VM's memory; it must outlive this object.</param>
    /// <param name="physical">The physical addresses of that memory; it must outlive this object.</param>
    /// <param name="options">How its calls are forwarded.</param>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">An option is outside its range, its number belongs to another VM, or
    /// <paramref name="physical"/> has too few shadow pages; the message says which.</exception>
    /// <exception cref="TeeUnavailableException">OP-TEE cannot serve the VM; the message says why.</exception>
    public OpTeeForwarder(HostOpTee opTee, IGuestMemory memory, IPhysicalMemory physical, OpTeeForwarderOptions options)
    {
        ArgumentNullException.ThrowIfNull(opTee);
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(physical);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        if (!BitConverter.IsLittleEndian)
        {
            throw new PlatformNotSupportedException("OP-TEE's messages are little-endian, and so must the host be.");
        }

        NonThrowingPhysicalMemory.Validate(physical, options.ShadowPages);
        _opTee = opTee;
        _options = options;
        _log = new VmLogger(NonThrowingLogger.CreateForVm<OpTeeForwarder>(options.LoggerFactory), options.Name);
        _observer = new CallObserver(options.Name, options.Trace);
        OpTeeCapabilities offered = options.Capabilities & ~OpTeeCapabilities.AsynchronousNotifications;
        if (options.NotificationInterrupt is not null)
        {
            offered |= OpTeeCapabilities.AsynchronousNotifications;
        }

        OpTeeCapabilities capabilities = offered & opTee.Capabilities;
        NonThrowingGuestMemory guestMemory = new(memory, _log);
        NonThrowingPhysicalMemory physicalMemory = new(physical, options.ShadowPages, _log);
        int id = opTee.TakeId(options.VirtualMachineId);
        try
        {
            _vm = new VmResources(guestMemory, physicalMemory, options.Limits, opTee.Threads);
            _registration = new VmRegistration(opTee, id, _vm, options.RecreationLimit, _log);
            _fastCalls = new ForwardedFastCalls(opTee, id, _vm, capabilities, _log);
            ForwardedRpc rpc = new(guestMemory, _vm, _log);
            ShadowMessages messages = new(guestMemory, _vm.Shadows);
            CallEntry entry = new(opTee, id, _vm, rpc, messages, _observer, _log);
            bool hasRpcArgument = (capabilities & OpTeeCapabilities.RpcArgument) != 0;
            MessageTranslator translator =
                new(guestMemory, _vm, new MessageReader(guestMemory, opTee.RpcParameters), _log);
            _calls = new ForwardedCalls(
                _vm, translator, messages, rpc, entry, hasRpcArgument, _observer, _log);
            DriverCleanup cleanup = new(opTee, id, _vm, rpc, messages, entry, _log);
            _restart = new DriverRestart(_phases, _registration, _vm, cleanup, _deferred, _fastCalls, options);
            _line = _fastCalls.HasNotifications ? new(options.NotificationInterrupt!, _pause, _log) : null;
            _pause.Released = () => _line?.PulseIfDue();
            DeviceTreeNode = new OpTeeDeviceTreeNode { Spi = _line?.Spi };
            _registration.Create();
            GuestGauges.Shared.Add(this, options.Name);
            OpTeeLimits limits = options.Limits;
            _log.GuestServed(
                string.Create(CultureInfo.InvariantCulture, $"the OP-TEE of this computer as its VM {id}"),
                "every application", _vm.Calls.Length, limits.Sessions, limits.Buffers, limits.Pages,
                NonThrowingInterruptLine.Describe(_line));
        }
        catch
        {
            _line?.Dispose();
            opTee.ReturnId(id);
            throw;
        }
    }

    /// <summary>The trusted OS (owner 50, fast and yielding) and its identification (owner 63, fast), SMC32.</summary>
    public ImmutableArray<SmcFunctionRange> Ranges => OpTeeFunctions.Ranges;

    /// <summary>The device-tree node by which the guest finds OP-TEE.</summary>
    public OpTeeDeviceTreeNode DeviceTreeNode { get; }

    /// <inheritdoc/>
    /// <remarks>Empty: guest and OP-TEE share only memory that the guest registers.</remarks>
    public ImmutableArray<GuestRange> ReservedMemory => [];

    /// <summary>The number by which OP-TEE knows the VM, 1–65534.</summary>
    public int VirtualMachineId => _registration.Id;

    /// <summary>What the guest holds now.</summary>
    public OpTeeGuestStatus Status => _vm.Status;

    internal int FreeShadowPages => _vm.Shadows.FreePages;

    /// <inheritdoc/>
    /// <remarks>While the VM is paused, it waits for a few milliseconds at most and then answers
    /// <see cref="SmcOutcomeKind.Retry"/>: the guest takes its interrupts and makes the call again. After disposal
    /// every call gets <see cref="SmcccReturn.NotSupported"/>.</remarks>
    public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded)
    {
        uint functionId = registers.FunctionId.WithoutHint.Value;
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

    /// <summary>OP-TEE has raised its notification interrupt: raises the guest's, if it takes notifications.</summary>
    /// <remarks>Thread-safe. The VMM calls it on the forwarders of all VMs; each guest asks for its values. The
    /// interrupt of a paused VM is raised after the pause.</remarks>
    public void OnNotificationInterrupt()
    {
        if (_vm.TakesNotifications)
        {
            _line!.Pulse();
        }
    }

    /// <summary>The VM is reset: OP-TEE releases all that it has of the VM, and the handler stays usable.</summary>
    /// <returns>A task that ends when all is freed.</returns>
    /// <exception cref="ObjectDisposedException">This object was disposed of.</exception>
    /// <exception cref="TeeUnavailableException">OP-TEE did not release what the VM has, or did not create the VM
    /// again, or a call did not return within <see cref="OpTeeForwarderOptions.ShutdownDeadline"/>; the message says
    /// which. The guest has no TEE then until its driver starts or it is reset again.</exception>
    /// <remarks>No vCPU of the guest runs meanwhile. OP-TEE is told that the VM is destroyed and created, so that also
    /// what its applications keep beyond their sessions ends; after <see cref="OpTeeForwarderOptions.RecreationLimit"/>
    /// of these only what the guest's driver has is released. Thread-safe.</remarks>
    public async Task ResetAsync()
    {
        VmPhase former;
        while ((former = _phases.TryBegin(VmPhase.Restarting)) == VmPhase.CleanupRunning)
        {
            await Task.Delay(1);
        }

        ObjectDisposedException.ThrowIf(former == VmPhase.Disposed, this);
        if (former == VmPhase.Restarting)
        {
            throw new TeeUnavailableException("The guest is being reset already.");
        }

        VmPhase next = former;
        try
        {
            if (!await _phases.WaitUntilNoneInsideAsync(_options.ShutdownDeadline))
            {
                throw new TeeUnavailableException(
                    $"A call of VM {VirtualMachineId} did not return from OP-TEE within {_options.ShutdownDeadline}; "
                    + "nothing was reset.");
            }

            _deferred.Discard();
            if (former != VmPhase.NotCreated && _registration.IsAtLimit)
            {
                next = VmPhase.CleanupBlocked;
                next = await _restart.CleanUpAsync(former);
                return;
            }

            if (former != VmPhase.NotCreated && !_registration.TryDestroyToRecreate())
            {
                throw new TeeUnavailableException($"OP-TEE did not destroy VM {VirtualMachineId}; the log says why.");
            }

            next = _registration.CreateAgain();
            if (next != VmPhase.Serving)
            {
                throw new TeeUnavailableException(
                    $"OP-TEE did not create VM {VirtualMachineId} again; the log says why.");
            }
        }
        finally
        {
            _phases.End(next);
        }
    }

    /// <inheritdoc/>
    /// <remarks>As <see cref="IGuestOpTee.PauseAsync"/>, within <see cref="OpTeeForwarderOptions.ShutdownDeadline"/>. A
    /// vCPU leaves OP-TEE at the next interrupt of its physical CPU; its call is then suspended in the guest. What a
    /// vCPU calls meanwhile has the outcome <see cref="SmcOutcomeKind.Retry"/>. A reset that is under way is waited
    /// for. <see cref="ResetAsync"/> and <see cref="DisposeAsync"/> of a paused VM are not held.</remarks>
    public Task<bool> PauseAsync(CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposal) is not null, this);
        return _pause.PauseAsync(
            () => _phases.IsNoneInside && _phases.Current != VmPhase.Restarting && _pause.IsQuiet,
            _options.ShutdownDeadline, cancellationToken);
    }

    /// <inheritdoc/>
    public void Resume()
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposal) is not null, this);
        _pause.Resume();
    }

    /// <summary>The VM is destroyed: OP-TEE releases all that it has of the VM, and all pins end.</summary>
    /// <returns>A task that ends when all is freed, or after <see cref="OpTeeForwarderOptions.ShutdownDeadline"/>; what
    /// is not freed by then is freed when OP-TEE returns from the calls that it is at work on.</returns>
    /// <remarks>May be called at any time, from any thread, and more than once.</remarks>
    public async ValueTask DisposeAsync()
    {
        TaskCompletionSource disposal = new(TaskCreationOptions.RunContinuationsAsynchronously);
        if (Interlocked.CompareExchange(ref _disposal, disposal, null) is null)
        {
            GuestGauges.Shared.Remove(this);
            _ = DestroyAsync(disposal); // at once and on this thread, unless OP-TEE is at work
        }

        try
        {
            await _disposal.Task.WaitAsync(_options.ShutdownDeadline);
        }
        catch (TimeoutException)
        {
            _log.CallsOutliveGuest(Status.CallsInFlight, _options.ShutdownDeadline);
        }
    }

    private async Task DestroyAsync(TaskCompletionSource disposal)
    {
        try
        {
            VmPhase former;
            while ((former = _phases.TryBegin(VmPhase.Disposed)) is VmPhase.Restarting or VmPhase.CleanupRunning)
            {
                await Task.Delay(1);
            }

            _ = await _phases.WaitUntilNoneInsideAsync(TimeSpan.MaxValue);
            _vm.TakesNotifications = false;
            _line?.Dispose();
            bool hasFailedCall = _vm.HasFailedCall;
            if ((former == VmPhase.NotCreated || _registration.TryDestroy()) && !hasFailedCall)
            {
                _opTee.ReturnId(VirtualMachineId);
            }
            else if (hasFailedCall)
            {
                _log.FailedCallKeepsMemory(VirtualMachineId, _vm.Buffers);
            }
        }
        catch (Exception exception)
        {
            _log.TeardownFailed(0, exception);
        }
        finally
        {
            disposal.SetResult();
        }
    }

    private SmcOutcome HandleTraced(uint functionId, ref SmcRegisters registers)
    {
        long started = CallObserver.BeginSmc();
        SmcOutcome outcome = Answer(functionId, ref registers);
        if (outcome.Kind == SmcOutcomeKind.Handled)
        {
            _observer.EndSmc(functionId, registers.X0, started);
        }

        return outcome;
    }

    private SmcOutcome Answer(uint functionId, ref SmcRegisters registers)
    {
        // Entering is a full fence: either the pause is seen here, or it waits until this thread has left.
        _phases.Enter();
        bool isHeld = _pause.IsPaused && _phases.Current != VmPhase.Disposed
            && OpTeeFunctions.Contains(new SmcFunctionId(functionId));
        try
        {
            if (!isHeld)
            {
                return Dispatch(functionId, ref registers);
            }
        }
        catch (Exception exception)
        {
            // By design nothing throws here. The guest must get an answer all the same.
            _log.CallFailed(functionId, exception);
            return registers.Answer(OpTeeSmc.ReturnNoMemory);
        }
        finally
        {
            _phases.Leave();
        }

        _pause.WaitUntilReleased(HoldAtMost);
        return SmcOutcome.Retry;
    }

    private SmcOutcome Dispatch(uint functionId, ref SmcRegisters registers)
    {
        SmcFunctionId id = new(functionId);
        if (!OpTeeFunctions.Contains(id))
        {
            return SmcOutcome.NotHandled;
        }

        VmPhase phase = _phases.Current;
        if (phase == VmPhase.Disposed)
        {
            registers.X0 = SmcccReturn.NotSupported;
            return SmcOutcome.Handled(SmcRegisterSet.X0);
        }

        if (phase == VmPhase.Restarting || (phase == VmPhase.NotCreated && functionId != OpTeeSmc.ExchangeCapabilities))
        {
            return registers.Answer(OpTeeSmc.ReturnNotAvailable);
        }

        if (_deferred.TryTakeCall(ref registers))
        {
            functionId = registers.FunctionId.Value;
        }

        if (phase is VmPhase.CleanupPending or VmPhase.CleanupBlocked or VmPhase.CleanupRunning
            && _restart.HandleDuringCleanup(functionId, ref registers) is { } outcome)
        {
            return outcome;
        }

        return functionId switch
        {
            OpTeeSmc.CallWithArgument or OpTeeSmc.CallWithRpcArgument or OpTeeSmc.CallWithRegisteredArgument =>
                _calls.Start(ref registers),
            OpTeeSmc.ReturnFromRpc => _calls.Resume(ref registers),
            OpTeeSmc.ExchangeCapabilities => BeginDriver(ref registers),
            _ => _fastCalls.Handle(functionId, ref registers),
        };
    }

    private SmcOutcome BeginDriver(ref SmcRegisters registers)
    {
        const uint Uniprocessor = 1;
        uint guest = (uint)registers.X1;
        string? refusal = (guest & ~Uniprocessor) != 0 ? RefusalReason.UnknownCapability
            : !_restart.TryBeginDriver() ? RefusalReason.EarlierDriver
            : null;
        if (refusal is null)
        {
            return _fastCalls.ExchangeCapabilities(ref registers);
        }

        _observer.Refuse(refusal);
        _log.CallRefused(OpTeeSmc.ExchangeCapabilities, guest, OpTeeSmc.ReturnNotAvailable, refusal);
        return registers.Answer(OpTeeSmc.ReturnNotAvailable);
    }
}
