using System.Collections.Immutable;
using System.Diagnostics;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Forwarding;

/// <summary>Forwards the SMCs of one VM to an OP-TEE built for virtualization, which so serves each VM as if it were the only one.</summary>
/// <remarks>
/// <para>For hypervisors and VMMs that can make SMCs themselves and know the physical addresses of guest memory; others use <see cref="OpTeeGuest"/>. What it
/// does between guest and OP-TEE: it notifies OP-TEE when the VM is created and destroyed; it tells OP-TEE with each call which VM calls (X7); it
/// translates the guest's addresses in messages and page lists into physical ones; it keeps shared pages pinned until OP-TEE has let go of them; and it
/// shows the guest nothing but OP-TEE's own interface.</para>
/// <para>Create it before the VM's first instruction and dispose of it when the VM is gone, before the guest memory.</para>
/// <para>Thread-safe: every vCPU thread may call <see cref="Handle"/> at any time, also while the guest is being reset or disposed of.</para>
/// <para>Needs from X0–X17 what <see cref="OpTeeGuest"/> needs.</para>
/// </remarks>
public sealed class OpTeeForwarder : ISmcHandler, IAsyncDisposable
{
    private const int Running = 0;
    private const int Renewing = 1;
    private const int VmIsUnknown = 2;
    private const int Disposed = 3;

    // What an earlier driver left is being cleaned up, in pieces: between two of them, and during one.
    private const int CleaningUp = 4;
    private const int InCleanup = 5;

    // How long a driver that starts waits for other vCPUs to come out of OP-TEE; they do so at their next interrupt.
    private static readonly TimeSpan Quiet = TimeSpan.FromMilliseconds(100);

    // How long a vCPU does cleanup before the guest goes on: a driver that starts, and a call of it. Both end at the first interrupt.
    private static readonly TimeSpan CleanupAtStart = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan CleanupAtCall = TimeSpan.FromMilliseconds(5);

    private static readonly SmcRegisterSet X0ToX1 = SmcRegisterSet.Range(0, 1);
    private static readonly SmcRegisterSet X0ToX2 = SmcRegisterSet.Range(0, 2);
    private static readonly SmcRegisterSet X0ToX3 = SmcRegisterSet.Range(0, 3);
    private static readonly SmcRegisterSet X0AndX3 = new(1 << 0 | 1 << 3);

    private readonly HostOpTee _opTee;
    private readonly OpTeeForwarderOptions _options;
    private readonly OpTeeCapabilities _capabilities;
    private readonly ForwardedCalls _calls;
    private readonly NonThrowingInterruptLine? _line;
    private readonly ILogger _log;
    private TaskCompletionSource? _disposal;
    private int _phase;
    private int _recreations;
    private int _hasReportedLimit;

    // Of the cleanup: when it began, whether it is given up, and what the new driver has asked for meanwhile.
    private long _cleanupStart;
    private bool _isCleanupStuck;
    private int _wantsRpcMessagesCached;
    private int _wantsNotifications;
    private int _inside;

    /// <summary>Announces a VM to OP-TEE, with default options.</summary>
    /// <param name="opTee">The OP-TEE of this computer.</param>
    /// <param name="memory">The VM's memory; it must outlive this object.</param>
    /// <param name="physical">Where that memory lies; it must outlive this object.</param>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException"><paramref name="physical"/> has too few shadow pages.</exception>
    /// <exception cref="TeeUnavailableException">OP-TEE cannot serve the VM; the message says why.</exception>
    public OpTeeForwarder(HostOpTee opTee, IGuestMemory memory, IPhysicalMemory physical)
        : this(opTee, memory, physical, new OpTeeForwarderOptions())
    {
    }

    /// <summary>Announces a VM to OP-TEE.</summary>
    /// <param name="opTee">The OP-TEE of this computer.</param>
    /// <param name="memory">The VM's memory; it must outlive this object.</param>
    /// <param name="physical">Where that memory lies; it must outlive this object.</param>
    /// <param name="options">How its calls are forwarded.</param>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">
    /// An option is outside its range, its number belongs to another VM, or <paramref name="physical"/> has too few shadow pages; the message says which.
    /// </exception>
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

        ValidateShadowPages(physical, options.ShadowPages);
        _opTee = opTee;
        _options = options;
        _log = new VmLogger(NonThrowingLogger.Create<OpTeeForwarder>(options.LoggerFactory), options.Name);
        OpTeeCapabilities offered = options.Capabilities & ~OpTeeCapabilities.AsynchronousNotifications;
        if (options.NotificationInterrupt is not null)
        {
            offered |= OpTeeCapabilities.AsynchronousNotifications;
        }

        _capabilities = offered & opTee.Capabilities;
        NonThrowingGuestMemory guestMemory = new(memory, _log);
        NonThrowingPhysicalMemory physicalMemory = new(physical, options.ShadowPages, _log);
        int id = opTee.TakeId(options.VirtualMachineId);
        try
        {
            _line = HasNotifications ? new NonThrowingInterruptLine(options.NotificationInterrupt!, _log) : null;
            DeviceTreeNode = new OpTeeDeviceTreeNode { Spi = _line?.Spi };
            bool hasRpcArgument = (_capabilities & OpTeeCapabilities.RpcArgument) != 0;
            _calls = new ForwardedCalls(opTee, id, guestMemory, physicalMemory, options.Limits, hasRpcArgument, _log);
            NotifyVmCreated();
        }
        catch
        {
            _line?.Dispose();
            opTee.ReturnId(id);
            throw;
        }
    }

    /// <summary>The calls of the trusted OS (owner 50, fast and yielding) and of its identification (owner 63, fast), SMC32.</summary>
    public ImmutableArray<SmcFunctionRange> Ranges => OpTeeFunctions.Ranges;

    /// <summary>The device-tree node by which the guest finds OP-TEE.</summary>
    public OpTeeDeviceTreeNode DeviceTreeNode { get; }

    /// <summary>The number by which OP-TEE knows the VM, 1–65534.</summary>
    public int VirtualMachineId => _calls.Id;

    /// <summary>What the guest holds now.</summary>
    public OpTeeGuestStatus Status => _calls.Status;

    internal int FreeShadowPages => _calls.FreeShadowPages;

    private bool HasNotifications => (_capabilities & OpTeeCapabilities.AsynchronousNotifications) != 0;

    /// <inheritdoc/>
    /// <remarks>After disposal every call gets <see cref="SmcccReturn.NotSupported"/>.</remarks>
    public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded)
    {
        uint functionId = registers.FunctionId.WithoutHint.Value;
        SmcRegisterSet needed = functionId switch
        {
            OpTeeSmc.CallWithRegisteredArgument => X0ToX3,
            OpTeeSmc.CallWithArgument or OpTeeSmc.CallWithRpcArgument => X0ToX2,
            OpTeeSmc.ReturnFromRpc => loaded.Contains(X0AndX3) ? _calls.RegistersToResume(registers.X3) : X0AndX3,
            OpTeeSmc.ExchangeCapabilities => X0ToX1,
            _ => SmcRegisterSet.X0,
        };
        if (!loaded.Contains(needed))
        {
            return SmcOutcome.NeedsRegisters(needed);
        }

        // Whoever ends the VM changes the phase and then waits for those inside.
        _ = Interlocked.Increment(ref _inside);
        try
        {
            return Dispatch(functionId, ref registers);
        }
        catch (Exception exception)
        {
            // Nothing of ours throws here by design; a VMM's monitor may. The guest gets an answer all the same.
            _log.CallFailed(functionId, exception);
            return Answer(ref registers, OpTeeSmc.ReturnNoMemory);
        }
        finally
        {
            _ = Interlocked.Decrement(ref _inside);
        }
    }

    /// <summary>OP-TEE has raised its interrupt for notifications: raises the guest's, if the guest takes notifications.</summary>
    /// <remarks>Thread-safe. Where several VMs take notifications, the VMM tells all of their forwarders; a guest finds out whether it was meant.</remarks>
    public void OnNotificationInterrupt()
    {
        if (_calls.TakesNotifications)
        {
            _line!.Pulse();
        }
    }

    /// <summary>The VM is reset: OP-TEE drops all that the VM has there, and the handler stays usable.</summary>
    /// <returns>A task that ends when all is freed.</returns>
    /// <exception cref="ObjectDisposedException">This object was disposed of.</exception>
    /// <exception cref="TeeUnavailableException">
    /// OP-TEE did not release what the VM has, or did not take the VM again, or a call did not return within
    /// <see cref="OpTeeForwarderOptions.ShutdownDeadline"/>; the message says which. The guest has no TEE then until it starts its driver or
    /// <see cref="ResetAsync"/> is called again.
    /// </exception>
    /// <remarks>
    /// No vCPU of the guest runs meanwhile. OP-TEE is told that the VM is destroyed and created, so that also what its applications keep beyond their
    /// sessions ends; after <see cref="OpTeeForwarderOptions.RecreationLimit"/> of these only what the guest's driver has is released. Thread-safe.
    /// </remarks>
    public async Task ResetAsync()
    {
        int former;
        while ((former = TryBegin(Renewing)) == InCleanup)
        {
            await Task.Delay(1);
        }

        ObjectDisposedException.ThrowIf(former == Disposed, this);
        if (former == Renewing)
        {
            throw new TeeUnavailableException("The guest is being reset already.");
        }

        if (!await IsQuietAsync(_options.ShutdownDeadline))
        {
            Volatile.Write(ref _phase, former);
            throw new TeeUnavailableException($"A call of VM {VirtualMachineId} did not return from OP-TEE within {_options.ShutdownDeadline}; nothing was reset.");
        }

        try
        {
            ForgetWishes();
            if (former != VmIsUnknown && _recreations >= _options.RecreationLimit)
            {
                int before = former;
                former = CleaningUp;
                former = await CleanUpAsync(before);
                return;
            }

            if (former != VmIsUnknown)
            {
                _recreations++;
                if (!TryNotifyVmDestroyed())
                {
                    throw new TeeUnavailableException($"OP-TEE did not destroy VM {VirtualMachineId}; the log says why.");
                }
            }

            former = CreateAgain();
            if (former != Running)
            {
                throw new TeeUnavailableException($"OP-TEE did not create VM {VirtualMachineId} again; the log says why.");
            }
        }
        finally
        {
            Volatile.Write(ref _phase, former);
        }
    }

    /// <summary>The VM is gone: OP-TEE drops all that it has there, and all pins end.</summary>
    /// <returns>
    /// A task that ends when all is freed, or after <see cref="OpTeeForwarderOptions.ShutdownDeadline"/>; what is not freed by then is freed when OP-TEE returns from the
    /// calls that it is at work on.
    /// </returns>
    /// <remarks>May be called at any time, from any thread, and more than once.</remarks>
    public async ValueTask DisposeAsync()
    {
        TaskCompletionSource disposal = new(TaskCreationOptions.RunContinuationsAsynchronously);
        if (Interlocked.CompareExchange(ref _disposal, disposal, null) is null)
        {
            _ = WithdrawAsync(disposal); // at once and on this thread, unless OP-TEE is at work
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

    private async Task WithdrawAsync(TaskCompletionSource disposal)
    {
        try
        {
            int former;
            while ((former = TryBegin(Disposed)) is Renewing or InCleanup)
            {
                await Task.Delay(1);
            }

            _ = await IsQuietAsync(TimeSpan.MaxValue);
            _calls.TakesNotifications = false;
            _line?.Dispose();
            bool hasLostCall = _calls.HasLostCall;
            if ((former == VmIsUnknown || TryNotifyVmDestroyed()) && !hasLostCall)
            {
                _opTee.ReturnId(_calls.Id);
            }
            else if (hasLostCall)
            {
                _log.LostCallKeepsMemory(_calls.Id, Status.Buffers);
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

    /// <summary>Begins a phase, unless one is there that must end first.</summary>
    /// <returns>The phase before; <see cref="Renewing"/>, <see cref="InCleanup"/> or <see cref="Disposed"/> if nothing began.</returns>
    private int TryBegin(int phase)
    {
        while (true)
        {
            int present = Volatile.Read(ref _phase);
            if (present is Renewing or InCleanup or Disposed || Interlocked.CompareExchange(ref _phase, phase, present) == present)
            {
                return present;
            }
        }
    }

    private async Task<bool> IsQuietAsync(TimeSpan atMost)
    {
        long start = Stopwatch.GetTimestamp();
        while (Volatile.Read(ref _inside) != 0)
        {
            if (Stopwatch.GetElapsedTime(start) > atMost)
            {
                return false;
            }

            await Task.Delay(1);
        }

        return true;
    }

    private void NotifyVmCreated()
    {
        uint answer = _opTee.Create(_calls.Id);
        if (answer != OpTeeSmc.ReturnOk)
        {
            throw new TeeUnavailableException(
                $"OP-TEE answered 0x{answer:x} to VM_CREATED of VM {_calls.Id}; {_opTee.VirtualMachines} VMs use it or are about to. 0x{OpTeeSmc.ReturnNotAvailable:x} means that it has no room for more: its build says for how many (CFG_VIRT_GUEST_COUNT).");
        }
    }

    /// <summary>Tells OP-TEE that the VM is destroyed, and then releases its memory. No vCPU is inside.</summary>
    private bool TryNotifyVmDestroyed()
    {
        uint answer;
        try
        {
            answer = _opTee.Destroy(_calls.Id);
        }
        catch (Exception exception)
        {
            _log.CallFailed(OpTeeSmc.VmDestroyed, exception);
            return false;
        }

        if (answer != OpTeeSmc.ReturnOk)
        {
            _log.DestructionRefused(_calls.Id, answer, Status.Buffers);
            return false;
        }

        _calls.Clear();
        return true;
    }

    private SmcOutcome Dispatch(uint functionId, ref SmcRegisters registers)
    {
        SmcFunctionId id = new(functionId);
        if (!OpTeeFunctions.Contains(id))
        {
            return SmcOutcome.NotHandled;
        }

        int phase = Volatile.Read(ref _phase);
        if (phase == Disposed)
        {
            registers.X0 = SmcccReturn.NotSupported;
            return SmcOutcome.Handled(SmcRegisterSet.X0);
        }

        if (phase == Renewing || (phase == VmIsUnknown && functionId != OpTeeSmc.ExchangeCapabilities))
        {
            return Answer(ref registers, OpTeeSmc.ReturnNotAvailable);
        }

        if (_calls.TryTakeDelayed(ref registers))
        {
            functionId = registers.FunctionId.Value;
        }

        if (phase is CleaningUp or InCleanup && DispatchDuringCleanup(functionId, ref registers) is { } outcome)
        {
            return outcome;
        }

        switch (functionId)
        {
            case OpTeeSmc.CallWithArgument:
            case OpTeeSmc.CallWithRpcArgument:
            case OpTeeSmc.CallWithRegisteredArgument:
                return _calls.Start(ref registers);

            case OpTeeSmc.ReturnFromRpc:
                return _calls.Resume(ref registers);

            case OpTeeSmc.ExchangeCapabilities:
                return ExchangeCapabilities(ref registers);

            case OpTeeSmc.CallsUid:
            case OpTeeSmc.GetOsUuid:
                return Forward(functionId, 0, 4, ref registers);

            case OpTeeSmc.GetOsRevision:
                return Forward(functionId, 0, 3, ref registers);

            case OpTeeSmc.CallsRevision:
                return Forward(functionId, 0, 2, ref registers);

            case OpTeeSmc.CallsCount:
                return Forward(functionId, 0, 1, ref registers);

            case OpTeeSmc.EnableShmCache:
                return EnableShmCache(ref registers);

            case OpTeeSmc.DisableShmCache:
                return DisableShmCache(ref registers);

            case OpTeeSmc.GetThreadCount:
                registers.X0 = OpTeeSmc.ReturnOk;
                registers.X1 = (ulong)_calls.Count;
                return SmcOutcome.Handled(X0ToX1);

            case OpTeeSmc.GetShmConfig:
            case OpTeeSmc.GetProtectedMemoryConfig:
                return Answer(ref registers, OpTeeSmc.ReturnNotAvailable);

            case OpTeeSmc.EnableAsyncNotification when HasNotifications:
                return EnableNotifications(ref registers);

            case OpTeeSmc.GetAsyncNotificationValue when HasNotifications:
                return Forward(functionId, 0, 3, ref registers);

            default:
                // The hypervisor's own calls among them. What we do not know may carry addresses.
                return Answer(ref registers, id.IsFast ? OpTeeSmc.ReturnUnknownFunction : OpTeeSmc.ReturnBadCommand);
        }
    }

    /// <summary>Makes a fast call for the guest: its results, X0 among them, or the answer alone.</summary>
    private SmcOutcome Forward(uint functionId, ulong x1, int results, ref SmcRegisters registers)
    {
        SmcRegisters forwarded = default;
        forwarded.X0 = functionId;
        forwarded.X1 = x1;
        if (_opTee.TryCall(ref forwarded, _calls.Id) is { } failure)
        {
            _log.CallFailed(functionId, failure);
            return Answer(ref registers, OpTeeSmc.ReturnNoMemory);
        }

        // Those of owner 63 and GET_OS_UUID answer with X0 to X3; elsewhere, what comes with an error is left over from something else.
        bool isData = new SmcFunctionId(functionId).Owner == OpTeeSmc.OwnerTrustedOsApi || functionId is OpTeeSmc.GetOsUuid or OpTeeSmc.GetOsRevision;
        bool hasResults = isData ? (uint)forwarded.X0 != OpTeeSmc.ReturnUnknownFunction : (uint)forwarded.X0 == OpTeeSmc.ReturnOk;
        registers.X0 = (uint)forwarded.X0;
        registers.X1 = hasResults && results > 1 ? (uint)forwarded.X1 : 0;
        registers.X2 = hasResults && results > 2 ? (uint)forwarded.X2 : 0;
        registers.X3 = hasResults && results > 3 ? (uint)forwarded.X3 : 0;
        return SmcOutcome.Handled(X0ToX3);
    }

    private SmcOutcome DisableShmCache(ref SmcRegisters registers)
    {
        SmcOutcome outcome = Forward(OpTeeSmc.DisableShmCache, 0, 3, ref registers);
        switch (registers.X0)
        {
            case OpTeeSmc.ReturnOk:
                ulong cookie = _calls.TakeBackRpcMessageBuffer(registers.Pair(1, 2));
                registers.X1 = cookie >> 32;
                registers.X2 = (uint)cookie;
                break;

            case OpTeeSmc.ReturnNotAvailable:
                _calls.CachesRpcMessages = false;
                break;

            default:
                break;
        }

        return outcome;
    }

    private SmcOutcome EnableShmCache(ref SmcRegisters registers)
    {
        _calls.CachesRpcMessages = true;
        return Forward(OpTeeSmc.EnableShmCache, 0, 1, ref registers);
    }

    private SmcOutcome EnableNotifications(ref SmcRegisters registers)
    {
        // Before OP-TEE knows: it may raise its interrupt before it returns, and raises it once.
        bool former = _calls.TakesNotifications;
        _calls.TakesNotifications = true;
        SmcOutcome outcome = Forward(OpTeeSmc.EnableAsyncNotification, 0, 1, ref registers);
        if (registers.X0 != OpTeeSmc.ReturnOk)
        {
            _calls.TakesNotifications = former;
        }

        return outcome;
    }

    private SmcOutcome ExchangeCapabilities(ref SmcRegisters registers)
    {
        const uint Uniprocessor = 1;
        uint guest = (uint)registers.X1;
        if ((guest & ~Uniprocessor) != 0)
        {
            _log.CallRefused(OpTeeSmc.ExchangeCapabilities, guest, OpTeeSmc.ReturnNotAvailable, RefusalReason.UnknownCapability);
            return Answer(ref registers, OpTeeSmc.ReturnNotAvailable);
        }

        if (!TryBeginDriver())
        {
            _log.CallRefused(OpTeeSmc.ExchangeCapabilities, guest, OpTeeSmc.ReturnNotAvailable, RefusalReason.EarlierDriver);
            return Answer(ref registers, OpTeeSmc.ReturnNotAvailable);
        }

        SmcOutcome outcome = Forward(OpTeeSmc.ExchangeCapabilities, guest, 4, ref registers);
        if (registers.X0 == OpTeeSmc.ReturnOk)
        {
            OpTeeCapabilities capabilities = (OpTeeCapabilities)(uint)registers.X1 & _capabilities;
            registers.X1 = (ulong)capabilities;
            registers.X2 = HasNotifications ? registers.X2 : 0;
            registers.X3 = (capabilities & OpTeeCapabilities.RpcArgument) != 0 ? (ulong)_opTee.RpcParameters : 0;
        }

        return outcome;
    }

    /// <summary>A driver starts: what an earlier one left is cleaned up, or begins to be.</summary>
    private bool TryBeginDriver()
    {
        if (Volatile.Read(ref _phase) == Running && (!_options.ResetOnCapabilityExchange || !_calls.HasLeftovers))
        {
            return true;
        }

        long start = Stopwatch.GetTimestamp();
        int former;
        while ((former = TryBegin(Renewing)) == InCleanup && Stopwatch.GetElapsedTime(start) <= Quiet)
        {
            Thread.Yield();
        }

        if (former is Renewing or InCleanup or Disposed)
        {
            return false;
        }

        try
        {
            while (Volatile.Read(ref _inside) != 1)
            {
                if (Stopwatch.GetElapsedTime(start) > Quiet)
                {
                    return false;
                }

                Thread.Yield();
            }

            former = former == VmIsUnknown ? CreateAgain() : CleanUp(former, CleanupAtStart, isNewDriver: true);
            return former == Running || (former == CleaningUp && !_isCleanupStuck);
        }
        finally
        {
            // Whatever happens: others wait for the end of this phase.
            EndPiece(former);
        }
    }

    /// <summary>Answers what depends on a cleanup that has not ended.</summary>
    /// <returns><see langword="null"/> if the call is to be served as ever.</returns>
    private SmcOutcome? DispatchDuringCleanup(uint functionId, ref SmcRegisters registers)
    {
        switch (functionId)
        {
            case OpTeeSmc.CallWithArgument:
            case OpTeeSmc.CallWithRpcArgument:
                return ContinueCleanup(ref registers);

            case OpTeeSmc.CallWithRegisteredArgument:
                // The new driver cannot have registered anything yet.
                return Answer(ref registers, OpTeeSmc.ReturnBadAddress);

            case OpTeeSmc.ReturnFromRpc:
                return Answer(ref registers, OpTeeSmc.ReturnResume);

            case OpTeeSmc.EnableShmCache:
                // Linux would wait indefinitely for any other answer.
                _ = Interlocked.Exchange(ref _wantsRpcMessagesCached, 1);
                FulfilWishesIfRunning();
                return Answer(ref registers, OpTeeSmc.ReturnOk);

            case OpTeeSmc.DisableShmCache:
                // The new driver has no buffers there.
                _ = Interlocked.Exchange(ref _wantsRpcMessagesCached, 0);
                return Answer(ref registers, OpTeeSmc.ReturnNotAvailable);

            case OpTeeSmc.EnableAsyncNotification when HasNotifications:
                _ = Interlocked.Exchange(ref _wantsNotifications, 1);
                FulfilWishesIfRunning();
                return Answer(ref registers, OpTeeSmc.ReturnOk);

            default:
                return null;
        }
    }

    /// <summary>A yielding call during the cleanup: does a piece of it, then begins if that was the last, and is delayed otherwise.</summary>
    private SmcOutcome? ContinueCleanup(ref SmcRegisters registers)
    {
        int phase = Interlocked.CompareExchange(ref _phase, InCleanup, CleaningUp);
        if (phase == CleaningUp)
        {
            try
            {
                phase = CleanUp(phase, CleanupAtCall, isNewDriver: false);
            }
            finally
            {
                EndPiece(phase);
            }
        }

        return phase switch
        {
            Running => null,
            InCleanup => _calls.Delay(ref registers),
            CleaningUp when !_isCleanupStuck => _calls.Delay(ref registers),
            _ => Answer(ref registers, OpTeeSmc.ReturnNotAvailable),
        };
    }

    /// <summary>Does a piece of the cleanup; destroys and creates the VM in OP-TEE where nothing else helps.</summary>
    /// <returns>The phase that begins.</returns>
    private int CleanUp(int former, TimeSpan atMost, bool isNewDriver)
    {
        long start = Stopwatch.GetTimestamp();
        if (former == Running)
        {
            BeginCleanup(start);
        }

        if (isNewDriver)
        {
            ForgetWishes();
        }

        CleanupProgress progress;
        do
        {
            progress = _calls.CleanUp();
        }
        while (progress == CleanupProgress.Advanced && Stopwatch.GetElapsedTime(start) < atMost);

        return progress switch
        {
            CleanupProgress.Done => Running,
            CleanupProgress.Failed => Recreate(),
            _ when Stopwatch.GetElapsedTime(_cleanupStart) >= _options.ShutdownDeadline => Recreate(),
            _ => CleaningUp,
        };
    }

    /// <summary>Cleans up after the guest's driver where OP-TEE is not to destroy the VM. No vCPU runs.</summary>
    /// <returns>The phase that begins.</returns>
    /// <exception cref="TeeUnavailableException">OP-TEE does not release what the driver has.</exception>
    private async Task<int> CleanUpAsync(int former)
    {
        ReportRecreationLimit();
        if (former == Running)
        {
            BeginCleanup(Stopwatch.GetTimestamp());
        }

        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            switch (_calls.CleanUp())
            {
                case CleanupProgress.Done:
                    return Running;

                case CleanupProgress.Advanced when Stopwatch.GetElapsedTime(start) < _options.ShutdownDeadline:
                    break;

                case CleanupProgress.Interrupted when Stopwatch.GetElapsedTime(start) < _options.ShutdownDeadline:
                    await Task.Delay(1);
                    break;

                default:
                    _isCleanupStuck = true;
                    throw new TeeUnavailableException(
                        $"OP-TEE did not release what the driver of VM {VirtualMachineId} has, and has been told {_recreations} times that the VM is destroyed and created ({nameof(OpTeeForwarderOptions)}.{nameof(OpTeeForwarderOptions.RecreationLimit)}).");
            }
        }
    }

    private void BeginCleanup(long start)
    {
        OpTeeGuestStatus left = Status;
        _log.DriverEnds(left.Sessions, left.Buffers, left.CallsInFlight);
        _calls.TakeOver();
        _cleanupStart = start;
        _isCleanupStuck = false;
    }

    /// <summary>Ends a piece of the cleanup.</summary>
    private void EndPiece(int phase)
    {
        InterleavingPoint.Reach("OpTeeForwarder.EndPiece: about to change the phase");

        // Who has a wish notes it and then looks at the phase; this changes the phase and then looks for wishes. One of the two sees the other.
        _ = Interlocked.Exchange(ref _phase, phase);
        FulfilWishesIfRunning();
    }

    /// <summary>Does what the new driver has asked for during the cleanup, if that has ended.</summary>
    private void FulfilWishesIfRunning()
    {
        if (Volatile.Read(ref _phase) != Running)
        {
            return;
        }

        SmcRegisters unused = default;
        if (Interlocked.Exchange(ref _wantsRpcMessagesCached, 0) != 0)
        {
            _ = EnableShmCache(ref unused);
        }

        if (Interlocked.Exchange(ref _wantsNotifications, 0) != 0)
        {
            _ = EnableNotifications(ref unused);
        }
    }

    private void ForgetWishes()
    {
        _calls.DiscardDelayed();
        _ = Interlocked.Exchange(ref _wantsRpcMessagesCached, 0);
        _ = Interlocked.Exchange(ref _wantsNotifications, 0);
    }

    /// <summary>Has OP-TEE destroy the VM and create it again, as often as that is allowed.</summary>
    /// <returns>The phase that begins.</returns>
    private int Recreate()
    {
        if (_recreations >= _options.RecreationLimit)
        {
            ReportRecreationLimit();
            _isCleanupStuck = true;
            return CleaningUp;
        }

        _recreations++;
        if (!TryNotifyVmDestroyed())
        {
            _isCleanupStuck = true;
            return CleaningUp;
        }

        return CreateAgain();
    }

    private int CreateAgain()
    {
        uint answer;
        try
        {
            answer = _opTee.Create(_calls.Id);
        }
        catch (Exception exception)
        {
            _log.CallFailed(OpTeeSmc.VmCreated, exception);
            return VmIsUnknown;
        }

        if (answer != OpTeeSmc.ReturnOk)
        {
            _log.CreationRefused(_calls.Id, answer);
            return VmIsUnknown;
        }

        return Running;
    }

    private void ReportRecreationLimit()
    {
        if (Interlocked.Exchange(ref _hasReportedLimit, 1) == 0)
        {
            _log.RecreationLimitReached(_calls.Id, _recreations);
        }
    }

    private static SmcOutcome Answer(ref SmcRegisters registers, uint answer)
    {
        registers.X0 = answer;
        registers.X1 = 0;
        registers.X2 = 0;
        registers.X3 = 0;
        return SmcOutcome.Handled(X0ToX3);
    }

    private static void ValidateShadowPages(IPhysicalMemory physical, int needed)
    {
        if (physical.ShadowPages < needed)
        {
            throw new ArgumentException(
                $"There are {physical.ShadowPages} shadow pages; these options need {needed} ({nameof(OpTeeForwarderOptions)}.{nameof(OpTeeForwarderOptions.ShadowPages)}).", nameof(physical));
        }

        for (int index = 0; index < needed; index++)
        {
            int size = physical.GetShadowPage(index, out PhysicalAddress address).Length;
            if (size < OpTeeMessage.PageSize || address.Value == 0 || address.Value % OpTeeMessage.PageSize != 0)
            {
                throw new ArgumentException($"Shadow page {index} has {size} bytes at {address}; it must have {OpTeeMessage.PageSize}, aligned to as many, and not at 0.", nameof(physical));
            }
        }
    }
}
