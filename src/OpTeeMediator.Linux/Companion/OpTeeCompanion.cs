using System.Collections.Immutable;
using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Linux.Companion;

/// <summary>A real OP-TEE for one VM, on a machine that needs no TrustZone: it runs in a small VM of KVM beside the
/// guest's, with this process in EL3's place.</summary>
/// <remarks>
/// <code>
/// await using var optee = OpTeeCompanion.Start(
///     kvm, memory, new OpTeeCompanionOptions { Image = OpTeeImage.Load(OpTeeImage.DebianPath) });
/// var smc = new SmcRouter(optee);
/// // … the device tree gets optee.DeviceTreeNode and optee.ReservedMemory;
/// // then KvmSmccc.ForwardToUser and Handle, as with every handler
/// </code>
/// <para>The guest has the TEE to itself: storage, sessions and memory are shared with no other VM. The guest's
/// tee-supplicant serves it. It protects the TEE from its guest, not from the host: the VMM can read its memory, and a
/// stock image has a hardware unique key that everybody knows.</para>
/// <para>A call runs on the thread of the vCPU that makes it, and comes back after the quantum at the latest. An OP-TEE
/// that fails answers every call with NOT_SUPPORTED; another one takes its place and serves as soon as the guest's
/// driver begins again.</para>
/// <para>Start it when the guest memory has all its regions and before the VM's first instruction; dispose of it when
/// no vCPU runs any more, before the guest memory and the <see cref="KvmSystem"/>. Thread-safe.</para>
/// </remarks>
[Experimental("OPTEE001")]
public sealed class OpTeeCompanion : IGuestOpTee
{
    private readonly OpTeeCompanionOptions _options;
    private readonly Func<MemfdGuestMemory?, ICompanionVm> _createVm;
    private readonly VmPause _pause = new();
    private readonly NonThrowingInterruptLine? _line;
    private readonly WakeUps _wakeUps = new();
    private readonly LogRateLimit _teeFailures = new();
    private readonly LogRateLimit _replacements = new();
    private readonly LogRateLimit _callFailures = new();
    private readonly ImmutableArray<GuestRange> _guestMemory;
    private readonly ILogger _log;
    private readonly Supervisor _supervisor;
    private readonly Watchdog _watchdog = null!;
    private readonly CompanionMaintenance _maintenance = null!;
    private readonly Lock _lifeCycle = new();
    private readonly ManualResetEventSlim _isCommitted = new(initialState: true);
    private readonly Lazy<Task> _ending;
    private volatile CompanionTee? _tee;
    private volatile CompanionTee? _starting;
    private volatile bool _isDisposed;
    private KvmSystem? _ownedKvm;
    private OpTeeCompanionCopy? _copy;
    private TimeSpan _lastStart;
    private int _starts;

    private OpTeeCompanion(
        Func<IInterruptLine?, MemfdGuestMemory?, ICompanionVm> createVm, OpTeeCompanionOptions options,
        ImmutableArray<GuestRange> guestMemory, ILogger log, VmStateReader? state, OpTeeCompanionArrival? arrival)
    {
        _options = options;
        _guestMemory = guestMemory;
        _log = log;
        _ending = new Lazy<Task>(() => Task.Run(End));
        _supervisor = new Supervisor(this);
        _line = options.NotificationInterrupt is { } line ? new(line, _pause, log) : null;
        _createVm = memory => createVm(_line, memory);
        DeviceTreeNode = new OpTeeDeviceTreeNode { Spi = _line?.Spi };
        try
        {
            _watchdog = new Watchdog(options.AnswerDeadline, options.StartDeadline, options.Name, log);
            _maintenance = new CompanionMaintenance(Replace, _pause, options.Name, log);
            _pause.Released = OnResumed;
            IReadOnlyList<GuestRange> reserved =
                state is null ? StartTee(awaitsDriver: false) : RestoreTee(state, arrival);
            ReservedMemory = [.. reserved.Where(range => guestMemory.Any(region => region.Overlaps(range)))];
            GuestGauges.Shared.Add(this, options.Name);
            log.GuestServed(
                options.Name, options.CoreCount, options.Quantum.TotalMilliseconds,
                NonThrowingInterruptLine.Describe(_line));
        }
        catch
        {
            End();
            throw;
        }
    }

    /// <summary>The trusted OS (owner 50, fast and yielding) and its identification (owner 63, fast), SMC32.</summary>
    public ImmutableArray<SmcFunctionRange> Ranges => OpTeeFunctions.Ranges;

    /// <summary>The device-tree node by which the guest finds its OP-TEE.</summary>
    public OpTeeDeviceTreeNode DeviceTreeNode { get; }

    /// <summary>The guest RAM that OP-TEE keeps for buffers that it shares with the guest.</summary>
    /// <remarks>The VMM puts nothing there, and its device tree reserves it: a child of <c>/reserved-memory</c> with
    /// <c>reg</c> and <c>no-map</c> for each. Debian's image takes 0x42000000 and the next 2 MiB.</remarks>
    public ImmutableArray<GuestRange> ReservedMemory { get; }

    /// <inheritdoc/>
    /// <remarks>Sessions and buffers are only known to OP-TEE itself, and <see langword="null"/> here.</remarks>
    public OpTeeGuestStatus Status => new(_tee?.CallsInFlight ?? 0, Sessions: null, Buffers: null, SharedPages: null);

    /// <summary>How its OP-TEE is.</summary>
    public OpTeeCompanionStatus CompanionStatus
    {
        get
        {
            CompanionTee? tee = _tee;
            return new OpTeeCompanionStatus(
                tee is { HasEnded: false, AwaitsDriver: false }, _starts, _lastStart, tee?.Statistics ?? default);
        }
    }

    /// <inheritdoc cref="Start(KvmSystem, MappedGuestMemory, OpTeeCompanionOptions)" path="/*[not(self::summary)]"/>
    /// <summary>Gives a VM an OP-TEE and starts it, with the KVM of <c>/dev/kvm</c>.</summary>
    /// <exception cref="SystemCallException">There is no KVM, it may not be used, or it refuses.</exception>
    public static OpTeeCompanion Start(MappedGuestMemory memory, OpTeeCompanionOptions options) =>
        StartWith(given: null, memory, options);

    /// <inheritdoc cref="Start(MappedGuestMemory, OpTeeCompanionOptions)" path="/*[not(self::param)]"/>
    /// <param name="memory">Where all of the VM's memory lies; it stays mapped until the companion's disposal.</param>
    /// <param name="options">The image, and how the companion behaves.</param>
    public static OpTeeCompanion Start(IReadOnlyList<MappedMemoryRegion> memory, OpTeeCompanionOptions options)
    {
        ArgumentNullException.ThrowIfNull(memory);
        return StartWith(given: null, MappedGuestMemory.Create([.. memory]), options);
    }

    /// <summary>Gives a VM an OP-TEE and starts it.</summary>
    /// <param name="kvm">The host's KVM; it must outlive the companion.</param>
    /// <param name="memory">The VM's memory, with all its regions; it must outlive the companion.</param>
    /// <param name="options">The image, and how the companion behaves.</param>
    /// <returns>The companion, whose OP-TEE has started.</returns>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">An option is outside its range, or guest and OP-TEE need the same addresses;
    /// the message names them.</exception>
    /// <exception cref="TeeUnavailableException">OP-TEE does not start; the message says what it did.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    /// <exception cref="NotSupportedException">This kernel has no SMCCC filter (arm64, Linux 6.4 and later), or guest
    /// RAM lies beyond the guest addresses that the host has.</exception>
    public static OpTeeCompanion Start(KvmSystem kvm, MappedGuestMemory memory, OpTeeCompanionOptions options)
    {
        ArgumentNullException.ThrowIfNull(kvm);
        return StartWith(given: kvm, memory, options);
    }

    /// <inheritdoc cref="Start(KvmSystem, MappedGuestMemory, OpTeeCompanionOptions)"/>
    /// <summary>Gives a VM an OP-TEE and starts it; what OP-TEE writes to the VM's memory is tracked, for moving the VM
    /// while it runs.</summary>
    public static OpTeeCompanion Start(KvmSystem kvm, TrackedGuestMemory memory, OpTeeCompanionOptions options)
    {
        ArgumentNullException.ThrowIfNull(kvm);
        ArgumentNullException.ThrowIfNull(memory);
        return StartWith(given: kvm, memory.Inner, options, memory);
    }

    /// <inheritdoc cref="RestoreAsync(KvmSystem, MappedGuestMemory, OpTeeCompanionOptions, Stream, VmStateOptions)"
    /// path="/*[not(self::summary) and not(@name='kvm')]"/>
    /// <summary>Gives a VM the OP-TEE that was saved, with the KVM of <c>/dev/kvm</c>.</summary>
    public static Task<OpTeeCompanion> RestoreAsync(
        MappedGuestMemory memory, OpTeeCompanionOptions options, Stream source, VmStateOptions stateOptions) =>
        RestoreWithAsync(given: null, memory, options, source, stateOptions);

    /// <summary>Gives a VM the OP-TEE that was saved.</summary>
    /// <param name="kvm">The host's KVM; it must outlive the companion.</param>
    /// <param name="memory">The VM's memory, with the regions that the saved VM had; it must outlive the
    /// companion.</param>
    /// <param name="options">As the saved companion's; the image serves when the VM is reset.</param>
    /// <param name="source">What <see cref="SaveAsync(Stream, VmStateOptions)"/> has written.</param>
    /// <param name="stateOptions">Whose state it is, and its key.</param>
    /// <returns>The companion, paused. Sessions, calls in flight, timers and notifications go on after
    /// <see cref="Resume"/>.</returns>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">An option is outside its range, or guest and OP-TEE need the same addresses;
    /// the message names them.</exception>
    /// <exception cref="InvalidDataException">The state is cut off, was changed, or is that of another VM, of another
    /// version, or of another kind of host; the message says which. Nothing is left of the attempt.</exception>
    /// <exception cref="TeeUnavailableException">KVM's VM does not run.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    /// <exception cref="NotSupportedException">This kernel has no SMCCC filter (arm64, Linux 6.4 and later), or guest
    /// RAM lies beyond the guest addresses that the host has.</exception>
    /// <remarks>Restore the guest's RAM and vCPUs as they were when the state was saved: calls in flight are in
    /// both.</remarks>
    public static Task<OpTeeCompanion> RestoreAsync(
        KvmSystem kvm, MappedGuestMemory memory, OpTeeCompanionOptions options, Stream source,
        VmStateOptions stateOptions)
    {
        ArgumentNullException.ThrowIfNull(kvm);
        return RestoreWithAsync(given: kvm, memory, options, source, stateOptions);
    }

    /// <inheritdoc cref="RestoreAsync(KvmSystem, MappedGuestMemory, OpTeeCompanionOptions, Stream, VmStateOptions)"/>
    /// <summary>Gives a VM the OP-TEE that was saved; what OP-TEE writes to the VM's memory is tracked, for moving the
    /// VM again while it runs.</summary>
    public static Task<OpTeeCompanion> RestoreAsync(
        KvmSystem kvm, TrackedGuestMemory memory, OpTeeCompanionOptions options, Stream source,
        VmStateOptions stateOptions)
    {
        ArgumentNullException.ThrowIfNull(kvm);
        ArgumentNullException.ThrowIfNull(memory);
        return RestoreWithAsync(given: kvm, memory.Inner, options, source, stateOptions, memory);
    }

    /// <inheritdoc cref="RestoreAsync(KvmSystem, MappedGuestMemory, OpTeeCompanionOptions, Stream, VmStateOptions)"
    /// path="/*[not(self::summary) and not(self::param)]"/>
    /// <summary>Gives a VM the OP-TEE that was moved while it ran: its memory was copied before.</summary>
    /// <param name="kvm">The host's KVM; it must outlive the companion.</param>
    /// <param name="memory">The VM's memory, with the regions that the saved VM had; it must outlive the
    /// companion.</param>
    /// <param name="options">As the saved companion's; the image serves when the VM is reset.</param>
    /// <param name="source">What <see cref="SaveAsync(Stream, VmStateOptions, OpTeeCompanionCopy)"/> has written.
    /// </param>
    /// <param name="stateOptions">Whose state it is, and its key.</param>
    /// <param name="arrival">Has received the rounds of the copy; it is used up.</param>
    /// <exception cref="ObjectDisposedException">The arrival was disposed of, or has refused a round.</exception>
    public static Task<OpTeeCompanion> RestoreAsync(
        KvmSystem kvm, TrackedGuestMemory memory, OpTeeCompanionOptions options, Stream source,
        VmStateOptions stateOptions, OpTeeCompanionArrival arrival)
    {
        ArgumentNullException.ThrowIfNull(kvm);
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(arrival);
        return RestoreWithAsync(given: kvm, memory.Inner, options, source, stateOptions, memory, arrival);
    }

    /// <summary>Begins to copy OP-TEE's memory, for moving the VM while it runs.</summary>
    /// <param name="stateOptions">Whose state it is, and its key, as for
    /// <see cref="SaveAsync(Stream, VmStateOptions, OpTeeCompanionCopy)"/>.</param>
    /// <returns>The copy: dispose of it when the VM has moved, and when it has not.</returns>
    /// <exception cref="ArgumentNullException">The options are <see langword="null"/>.</exception>
    /// <exception cref="InvalidOperationException">Another copy has not ended.</exception>
    /// <exception cref="ObjectDisposedException">The companion was disposed of.</exception>
    /// <remarks>What OP-TEE writes to the guest's memory is told to the <see cref="TrackedGuestMemory"/> with which the
    /// companion was started. Thread-safe.</remarks>
    public OpTeeCompanionCopy StartCopy(VmStateOptions stateOptions)
    {
        ArgumentNullException.ThrowIfNull(stateOptions);
        lock (_lifeCycle)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            return _copy is null
                ? _copy = new OpTeeCompanionCopy(this, stateOptions)
                : throw new InvalidOperationException("OP-TEE's memory is being copied already; end that copy.");
        }
    }

    /// <summary>Saves the OP-TEE of a paused VM, with its sessions and calls in flight. The VM stays paused.</summary>
    /// <param name="target">Where it is written; see docs/save-restore.md.</param>
    /// <param name="stateOptions">Whose state it is, and its key. The state has all secrets of the TEE: leave the key
    /// out only inside something that is encrypted.</param>
    /// <returns>A task that ends when all is written.</returns>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="InvalidOperationException">The VM is not paused.</exception>
    /// <exception cref="ObjectDisposedException">The companion was disposed of.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    /// <exception cref="IOException">The target cannot be written.</exception>
    /// <remarks>Save the guest's RAM and vCPUs in the same pause. In the place of an OP-TEE that has failed another one
    /// is started when the state is restored. Thread-safe.</remarks>
    public Task SaveAsync(Stream target, VmStateOptions stateOptions) =>
        SaveWithAsync(target, stateOptions, copy: null);

    /// <inheritdoc cref="SaveAsync(Stream, VmStateOptions)" path="/*[not(self::summary) and not(self::param)]"/>
    /// <summary>Saves the OP-TEE of a paused VM whose memory was copied before: of its memory the rest. The VM stays
    /// paused.</summary>
    /// <param name="target">Where it is written; see docs/save-restore.md.</param>
    /// <param name="stateOptions">Whose state it is, and its key.</param>
    /// <param name="copy">The copy; it is used up: if the VM goes on here, the next move needs another one.</param>
    /// <exception cref="ArgumentException">The copy is another companion's, or has ended.</exception>
    public Task SaveAsync(Stream target, VmStateOptions stateOptions, OpTeeCompanionCopy copy)
    {
        ArgumentNullException.ThrowIfNull(copy);
        return SaveWithAsync(target, stateOptions, copy);
    }

    private Task SaveWithAsync(Stream target, VmStateOptions stateOptions, OpTeeCompanionCopy? copy)
    {
        ArgumentNullException.ThrowIfNull(target);
        ArgumentNullException.ThrowIfNull(stateOptions);
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        return Task.Run(() =>
        {
            lock (_lifeCycle)
            {
                ObjectDisposedException.ThrowIf(_isDisposed, this);
                Save(target, stateOptions, copy);
            }
        });
    }

    /// <inheritdoc/>
    /// <remarks>Call it on the thread of the vCPU that makes the call. While all of OP-TEE's cores are in use, and for
    /// a driver's first call while another OP-TEE is started in the place of one that failed, it waits for a quantum at
    /// most and then answers <see cref="SmcOutcomeKind.Retry"/>, which <see cref="Guests.KvmSmccc"/> carries out: the
    /// guest takes its interrupts and makes the call again. So it does with each call of a paused VM. After disposal
    /// every call gets <see cref="SmcccReturn.NotSupported"/>.</remarks>
    public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded)
    {
        if (!OpTeeFunctions.Contains(registers.FunctionId))
        {
            return SmcOutcome.NotHandled;
        }

        if (!_pause.TryEnter())
        {
            if (_isDisposed)
            {
                return SmcFilter.Refuse(ref registers);
            }

            _pause.WaitUntilReleased(_options.Quantum);
            return SmcOutcome.Retry;
        }

        try
        {
            return Serve(ref registers, loaded);
        }
        finally
        {
            _pause.Exit();
        }
    }

    /// <summary>The guest starts again, and so does its OP-TEE.</summary>
    /// <returns>A task that ends when the new one has started.</returns>
    /// <exception cref="ObjectDisposedException">The companion was disposed of.</exception>
    /// <exception cref="TeeUnavailableException">OP-TEE does not start.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    /// <remarks>No vCPU of the guest runs meanwhile. A paused VM stays paused. Thread-safe.</remarks>
    public Task ResetAsync()
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        return Task.Run(() =>
        {
            // One that replaces another, and may hang until its deadline.
            _starting?.Abort();
            _pause.EnterUnheld();
            try
            {
                lock (_lifeCycle)
                {
                    ObjectDisposedException.ThrowIf(_isDisposed, this);
                    _ = StartTee(awaitsDriver: false);
                }
            }
            finally
            {
                _pause.Exit();
            }
        });
    }

    /// <inheritdoc/>
    /// <remarks>As <see cref="IGuestOpTee.PauseAsync"/>, within <see cref="OpTeeCompanionOptions.AnswerDeadline"/>. A
    /// core comes back when its quantum is over. OP-TEE's timers are served, and another OP-TEE takes the place of one
    /// that has failed, after the pause; OP-TEE's clock goes on. A start that is under way is waited for.
    /// <see cref="ResetAsync"/> and <see cref="DisposeAsync"/> of a paused VM are not held.</remarks>
    public Task<bool> PauseAsync(CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        return _pause.PauseAsync(() => _pause.IsQuiet, _options.AnswerDeadline, cancellationToken);
    }

    /// <inheritdoc/>
    public void Resume()
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        _pause.Resume();
    }

    /// <summary>The VM has been destroyed: ends its OP-TEE.</summary>
    /// <returns>A task that ends when all is freed.</returns>
    /// <remarks>May be called from any thread, and more than once.</remarks>
    public ValueTask DisposeAsync() => new(_ending.Value);

    /// <summary>What the guest is not offered, though OP-TEE may.</summary>
    /// <remarks>Notifications without an interrupt to deliver them: Linux's driver would not start. Protected memory:
    /// what OP-TEE calls so is memory of its own VM, not of the guest's.</remarks>
    private OpTeeCapabilities NotOffered =>
        OpTeeCapabilities.ProtectedMemory | OpTeeCapabilities.DynamicProtectedMemory | WithoutInterrupt;

    private OpTeeCapabilities WithoutInterrupt => _options.NotificationInterrupt is null
        ? OpTeeCapabilities.AsynchronousNotifications
        : OpTeeCapabilities.None;

    /// <summary>Does something with the OP-TEE that serves, if there is one, which stays meanwhile.</summary>
    internal T WithTee<T>(Func<CompanionTee?, T> work)
    {
        lock (_lifeCycle)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            return work(_tee is { HasEnded: false } tee ? tee : null);
        }
    }

    /// <summary>Ends a copy.</summary>
    internal void EndCopy(OpTeeCompanionCopy copy, Action end)
    {
        lock (_lifeCycle)
        {
            end();
            _copy = _copy == copy ? null : _copy;
        }
    }

    /// <summary>For tests: a companion in VMs of another making.</summary>
    internal static OpTeeCompanion Start(
        Func<IInterruptLine?, MemfdGuestMemory?, ICompanionVm> createVm, OpTeeCompanionOptions options,
        params ImmutableArray<GuestRange> guestMemory) =>
        new(createVm, options, guestMemory, CreateLogger(options), state: null, arrival: null);

    // OP-TEE's console is one kind of entry: there must be room for what it prints at its start, or of a panic.
    private static ILogger CreateLogger(OpTeeCompanionOptions options) =>
        NonThrowingLogger.CreateForVm<OpTeeCompanion>(options.LoggerFactory, entries: 200);

    /// <summary>For tests: a companion that goes on in VMs of another making.</summary>
    internal static OpTeeCompanion Restore(
        Func<IInterruptLine?, MemfdGuestMemory?, ICompanionVm> createVm, OpTeeCompanionOptions options,
        Stream source, VmStateOptions stateOptions, OpTeeCompanionArrival? arrival,
        params ImmutableArray<GuestRange> guestMemory)
    {
        using VmStateReader state = new(source, stateOptions);
        return new(createVm, options, guestMemory, CreateLogger(options), state, arrival);
    }

    private static Task<OpTeeCompanion> RestoreWithAsync(
        KvmSystem? given, MappedGuestMemory memory, OpTeeCompanionOptions options, Stream source,
        VmStateOptions stateOptions, TrackedGuestMemory? tracked = null, OpTeeCompanionArrival? arrival = null)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(stateOptions);
        return Task.Run(() =>
        {
            using VmStateReader state = new(source, stateOptions);
            return StartWith(given, memory, options, tracked, state, arrival);
        });
    }

    private static OpTeeCompanion StartWith(
        KvmSystem? given, MappedGuestMemory memory, OpTeeCompanionOptions options, TrackedGuestMemory? tracked = null,
        VmStateReader? state = null, OpTeeCompanionArrival? arrival = null)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        ImmutableArray<GuestRange> regions = [.. memory.Regions.Select(region => region.Range)];
        CompanionVm.CheckLayout(regions.AsSpan(), options);
        ILogger log = CreateLogger(options);
        KvmSystem kvm = given ?? KvmSystem.Open();
        try
        {
            return new OpTeeCompanion(
                (line, copied) => CompanionVm.Create(kvm, memory, tracked, options, line, copied, log), options,
                regions, log, state, arrival)
            {
                _ownedKvm = given is null ? kvm : null,
            };
        }
        catch when (given is null)
        {
            kvm.Dispose();
            throw;
        }
    }

    private SmcOutcome Serve(ref SmcRegisters registers, SmcRegisterSet loaded)
    {
        uint functionId = registers.FunctionId.WithoutHint.Value;
        if (functionId == OpTeeSmc.GetProtectedMemoryConfig)
        {
            registers.X0 = OpTeeSmc.ReturnNotAvailable;
            return SmcOutcome.Handled(SmcRegisterSet.X0);
        }

        CompanionTee? tee = _tee;
        try
        {
            if (tee is null || tee.HasEnded || tee.AwaitsDriver)
            {
                if (!MayBeginDriver(functionId))
                {
                    return functionId == OpTeeSmc.GetAsyncNotificationValue
                        && _wakeUps.TryTake(ref registers, out SmcOutcome wakeUp)
                        ? wakeUp
                        : SmcFilter.Refuse(ref registers);
                }

                if (!_isCommitted.Wait(WholeMilliseconds.AtLeast(_options.Quantum)))
                {
                    // Another one is being started. Refused, the driver's probe would fail for good.
                    return SmcOutcome.Retry;
                }

                tee = FindForNewDriver();
                if (tee is null)
                {
                    return SmcFilter.Refuse(ref registers);
                }
            }

            SmcRegisterSet inputs = tee.InputsOf(in registers, loaded);
            if (!loaded.Contains(inputs))
            {
                return SmcOutcome.NeedsRegisters(inputs);
            }

            SmcOutcome outcome = tee.Call(ref registers, inputs);
            if (functionId == OpTeeSmc.ExchangeCapabilities && outcome.Kind == SmcOutcomeKind.Handled)
            {
                registers.X1 &= ~(ulong)NotOffered;
                _wakeUps.SetGreatest(registers.X3);
            }

            return outcome;
        }
        catch (Exception exception)
        {
            // KVM cannot go on. The guest gets an answer all the same.
            EndAfter(exception, tee, functionId);
            registers.X0 = functionId;
            return SmcFilter.Refuse(ref registers);
        }
    }

    /// <summary>Whether a call is one that no running driver makes.</summary>
    private bool MayBeginDriver(uint functionId) =>
        !_isDisposed && functionId is (OpTeeSmc.CallsUid or OpTeeSmc.ExchangeCapabilities);

    private CompanionTee? FindForNewDriver()
    {
        CompanionTee? tee = _tee;
        if (tee is null || tee.HasEnded)
        {
            return null;
        }

        tee.AwaitsDriver = false;
        _wakeUps.End();
        return tee;
    }

    /// <summary>Starts another OP-TEE in the place of the present one.</summary>
    private IReadOnlyList<GuestRange> StartTee(bool awaitsDriver)
    {
        GuestAddress entry = _options.Image.Address ?? _options.Platform.SecureMemory.Start;
        IReadOnlyList<GuestRange> reserved =
            BeginTee(awaitsDriver, tee => tee.Start(entry.Value, _options.Platform.DeviceTree.Value));
        _log.CompanionStarted(_options.Name, (long)_lastStart.TotalMilliseconds, _options.CoreCount);
        return reserved;
    }

    /// <summary>Goes on with an OP-TEE that was saved, in a pause.</summary>
    private IReadOnlyList<GuestRange> RestoreTee(VmStateReader state, OpTeeCompanionArrival? arrival)
    {
        CompanionState.ReadBeginning(
            state, _options, _guestMemory, out bool isInterruptDue, out CompanionContent content);
        _ = _pause.PauseAsync(static () => true, TimeSpan.Zero, CancellationToken.None);
        IReadOnlyList<GuestRange> reserved;
        if (content != CompanionContent.NoTee)
        {
            MemfdGuestMemory? copied = content == CompanionContent.Rest ? TakeCopied(state, arrival) : null;
            reserved = BeginTee(
                awaitsDriver: false,
                tee =>
                {
                    IReadOnlyList<GuestRange> ranges = tee.Restore(state, content);
                    state.Complete();
                    return ranges;
                },
                copied);
            _log.CompanionRestored(_options.Name, (long)_lastStart.TotalMilliseconds);
        }
        else
        {
            state.Complete();
            reserved = StartTee(awaitsDriver: true);
            WakeCallers();
        }

        if (isInterruptDue)
        {
            // Kept until the VM is resumed.
            _line?.Pulse();
        }

        return reserved;
    }

    private MemfdGuestMemory TakeCopied(VmStateReader state, OpTeeCompanionArrival? arrival) =>
        (arrival ?? throw new InvalidDataException(
            $"The saved OP-TEE was moved while it ran: the state has only the rest of its memory, and what was copied"
                + $" before is missing ({nameof(OpTeeCompanionArrival)})."))
        .Take(state, _options);

    private void Save(Stream target, VmStateOptions stateOptions, OpTeeCompanionCopy? copy)
    {
        if (!_pause.IsPaused)
        {
            throw new InvalidOperationException($"Pause the VM before its OP-TEE is saved ({nameof(PauseAsync)}).");
        }

        if (copy is not null && copy != _copy)
        {
            throw new ArgumentException("The copy is another companion's, or has ended.", nameof(copy));
        }

        CompanionTee? tee = _tee is { HasEnded: false } serving ? serving : null;
        CompanionContent content = tee is null ? CompanionContent.NoTee
            : copy is not null && copy.Has(tee) ? CompanionContent.Rest : CompanionContent.Whole;
        using VmStateWriter state = new(target, stateOptions);
        CompanionState.Begin(state, _options, _guestMemory, _line is { IsDue: true }, content);
        if (content == CompanionContent.Rest)
        {
            copy!.Mark(state);
        }

        try
        {
            tee?.Save(state, content);
            state.Complete();
        }
        finally
        {
            copy?.Dispose();
        }
    }

    private IReadOnlyList<GuestRange> BeginTee(
        bool awaitsDriver, Func<CompanionTee, IReadOnlyList<GuestRange>> begin, MemfdGuestMemory? copied = null)
    {
        long begun = Stopwatch.GetTimestamp();
        _tee?.Dispose();
        CompanionTee tee = CreateTee(awaitsDriver, copied);
        try
        {
            // Either a disposal is seen here, or it sees what to give up.
            _starting = tee;
            Interlocked.MemoryBarrier();
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            _watchdog.Serve(tee);
            IReadOnlyList<GuestRange> reserved = begin(tee);
            _maintenance.Serve(tee);
            _lastStart = Stopwatch.GetElapsedTime(begun);
            _starts++;
            _tee = tee;
            return reserved;
        }
        catch
        {
            tee.Dispose();
            throw;
        }
        finally
        {
            _starting = null;
        }
    }

    private CompanionTee CreateTee(bool awaitsDriver, MemfdGuestMemory? copied)
    {
        ICompanionVm vm = _createVm(copied);
        try
        {
            return new CompanionTee(
                vm, _options.Quantum, _supervisor, _options.Name, _log, _teeFailures) { AwaitsDriver = awaitsDriver };
        }
        catch
        {
            vm.Dispose();
            throw;
        }
    }

    /// <summary>For those who wait in the driver for an OP-TEE that has failed.</summary>
    private void WakeCallers()
    {
        if (_line is not null)
        {
            _wakeUps.Begin();
            _line.Pulse();
        }
    }

    /// <summary>On the maintenance's thread: replaces the OP-TEE that has failed.</summary>
    private void Replace()
    {
        try
        {
            lock (_lifeCycle)
            {
                // A reset may have been faster.
                if (!_isDisposed && _tee is { HasEnded: true })
                {
                    _ = StartTee(awaitsDriver: true);
                    if (_replacements.TryPass(out _))
                    {
                        _log.CompanionReplaced(_options.Name, (long)_lastStart.TotalMilliseconds);
                    }
                }
            }
        }
        catch (Exception exception)
        {
            _log.ReplacementFailed(_options.Name, exception);
        }
        finally
        {
            _isCommitted.Set();
        }
    }

    private void OnResumed()
    {
        _line?.PulseIfDue();
        _maintenance.OnResumed();
    }

    private void End()
    {
        GuestGauges.Shared.Remove(this);
        _isDisposed = true;
        Interlocked.MemoryBarrier();
        _starting?.Abort();
        lock (_lifeCycle)
        {
            _tee?.Dispose();
        }

        // In this order: the watchdog may still be telling the maintenance of a failure.
        _watchdog?.Dispose();
        _maintenance?.Dispose();
        _line?.Dispose();
        _ownedKvm?.Dispose();

        // There will be no other OP-TEE for those who wait for one.
        _isCommitted.Set();
    }

    /// <summary>A call has failed, and its OP-TEE with it.</summary>
    private void EndAfter(Exception exception, CompanionTee? tee, uint functionId)
    {
        tee?.Fail(new TeeFailure(0, TeeFailureCause.HostFailure, 0, 0));
        if (_callFailures.TryPass(out long suppressed))
        {
            _log.CompanionCallFailed(_options.Name, functionId, suppressed, exception);
        }
    }

    private sealed class Supervisor(OpTeeCompanion companion) : ICompanionSupervisor
    {
        public void OnRun() => companion._watchdog.OnRun();

        public void OnTimer(long due) => companion._maintenance.OnTimer(due);

        // One that does not even start is the business of who starts it.
        public void OnFailing(CompanionTee tee)
        {
            if (tee.HasStarted)
            {
                companion._isCommitted.Reset();
            }
        }

        public void OnFailed(CompanionTee tee)
        {
            if (tee.HasStarted)
            {
                companion.WakeCallers();
                companion._maintenance.Replace();
            }
        }
    }
}
