using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using OpTeeMediator.Backends;
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
    private readonly CompanionSetup _setup;
    private readonly VmPause _pause = new();
    private readonly NonThrowingInterruptLine? _line;
    private readonly TeeLifeCycle _lifeCycle = null!;
    private readonly CompanionCalls _calls = null!;
    private readonly Lazy<Task> _ending;

    private OpTeeCompanion(CompanionSetup setup, VmStateReader? state, OpTeeCompanionArrival? arrival)
    {
        _setup = setup;
        _ending = new Lazy<Task>(() => Task.Run(End));
        OpTeeCompanionOptions options = setup.Options;
        try
        {
            _line = options.NotificationInterrupt is { } line ? new(line, _pause, setup.Log) : null;
            DeviceTreeNode = new OpTeeDeviceTreeNode { Spi = _line?.Spi };
            _lifeCycle = new TeeLifeCycle(this, setup, _pause, _line);
            _calls = new CompanionCalls(_lifeCycle, _pause, options, setup.Log);
            _pause.Released = _lifeCycle.OnResumed;
            IReadOnlyList<GuestRange> reserved =
                state is null ? _lifeCycle.Start() : _lifeCycle.Restore(state, arrival);
            ReservedMemory = [.. reserved.Where(range => setup.GuestMemory.Any(region => region.Overlaps(range)))];
            GuestGauges.Shared.Add(this, options.Name);
            setup.Log.GuestServed(
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
    public OpTeeGuestStatus Status =>
        new(_lifeCycle.Tee?.CallsInFlight ?? 0, Sessions: null, Buffers: null, SharedPages: null);

    /// <summary>How its OP-TEE is.</summary>
    public OpTeeCompanionStatus CompanionStatus => _lifeCycle.Status;

    /// <inheritdoc cref="Start(KvmSystem, MappedGuestMemory, OpTeeCompanionOptions)" path="/*[not(self::summary)]"/>
    /// <summary>Gives a VM an OP-TEE and starts it, with the KVM of <c>/dev/kvm</c>.</summary>
    /// <exception cref="SystemCallException">There is no KVM, it may not be used, or it refuses.</exception>
    public static OpTeeCompanion Start(MappedGuestMemory memory, OpTeeCompanionOptions options) =>
        new(CompanionSetup.ForKvm(given: null, memory, tracked: null, options), state: null, arrival: null);

    /// <inheritdoc cref="Start(MappedGuestMemory, OpTeeCompanionOptions)" path="/*[not(self::param)]"/>
    /// <param name="memory">Where all of the VM's memory lies; it stays mapped until the companion's disposal.</param>
    /// <param name="options">The image, and how the companion behaves.</param>
    public static OpTeeCompanion Start(IReadOnlyList<MappedMemoryRegion> memory, OpTeeCompanionOptions options)
    {
        ArgumentNullException.ThrowIfNull(memory);
        return Start(MappedGuestMemory.Create([.. memory]), options);
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
        return new(CompanionSetup.ForKvm(kvm, memory, tracked: null, options), state: null, arrival: null);
    }

    /// <inheritdoc cref="Start(KvmSystem, MappedGuestMemory, OpTeeCompanionOptions)"/>
    /// <summary>Gives a VM an OP-TEE and starts it; what OP-TEE writes to the VM's memory is tracked, for moving the VM
    /// while it runs.</summary>
    public static OpTeeCompanion Start(KvmSystem kvm, TrackedGuestMemory memory, OpTeeCompanionOptions options)
    {
        ArgumentNullException.ThrowIfNull(kvm);
        ArgumentNullException.ThrowIfNull(memory);
        return new(CompanionSetup.ForKvm(kvm, memory.Inner, memory, options), state: null, arrival: null);
    }

    /// <inheritdoc cref="RestoreAsync(KvmSystem, MappedGuestMemory, OpTeeCompanionOptions, Stream, VmStateOptions)"
    /// path="/*[not(self::summary) and not(@name='kvm')]"/>
    /// <summary>Gives a VM the OP-TEE that was saved, with the KVM of <c>/dev/kvm</c>.</summary>
    public static Task<OpTeeCompanion> RestoreAsync(
        MappedGuestMemory memory, OpTeeCompanionOptions options, Stream source, VmStateOptions stateOptions) =>
        RestoreWithAsync(
            () => CompanionSetup.ForKvm(given: null, memory, tracked: null, options), source, stateOptions);

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
        return RestoreWithAsync(
            () => CompanionSetup.ForKvm(kvm, memory, tracked: null, options), source, stateOptions);
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
        return RestoreWithAsync(
            () => CompanionSetup.ForKvm(kvm, memory.Inner, memory, options), source, stateOptions);
    }

    /// <inheritdoc cref="RestoreAsync(KvmSystem, MappedGuestMemory, OpTeeCompanionOptions, Stream, VmStateOptions)"
    /// path="/*[not(self::summary) and not(self::param)]"/>
    /// <summary>Gives a VM the OP-TEE that was moved while it ran: its memory was copied before.</summary>
    /// <param name="source">What <see cref="SaveAsync(Stream, VmStateOptions, OpTeeCompanionCopy)"/> has written.
    /// </param>
    /// <param name="stateOptions">Whose state it is, and its key.</param>
    /// <param name="arrival">Has received the rounds of the copy; it is used up. Its KVM and memory must outlive the
    /// companion.</param>
    /// <exception cref="ObjectDisposedException">The arrival was disposed of, or has refused a round.</exception>
    public static Task<OpTeeCompanion> RestoreAsync(
        Stream source, VmStateOptions stateOptions, OpTeeCompanionArrival arrival)
    {
        ArgumentNullException.ThrowIfNull(arrival);
        return RestoreWithAsync(() => arrival.Setup, source, stateOptions, arrival);
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
        return _lifeCycle.StartCopy(stateOptions);
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

    /// <inheritdoc/>
    /// <remarks>Call it on the thread of the vCPU that makes the call. While all of OP-TEE's cores are in use, and for
    /// a driver's first call while another OP-TEE is started in the place of one that failed, it waits for a quantum at
    /// most and then answers <see cref="SmcOutcomeKind.Retry"/>, which <see cref="Guests.KvmSmccc"/> carries out: the
    /// guest takes its interrupts and makes the call again. So it does with each call of a paused VM. After disposal
    /// every call gets <see cref="SmcccReturn.NotSupported"/>.</remarks>
    public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded) =>
        _calls.Handle(ref registers, loaded);

    /// <summary>The guest starts again, and so does its OP-TEE.</summary>
    /// <returns>A task that ends when the new one has started.</returns>
    /// <exception cref="ObjectDisposedException">The companion was disposed of.</exception>
    /// <exception cref="TeeUnavailableException">OP-TEE does not start.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    /// <remarks>No vCPU of the guest runs meanwhile. A paused VM stays paused. Thread-safe.</remarks>
    public Task ResetAsync()
    {
        _lifeCycle.ThrowIfDisposed();
        return Task.Run(_lifeCycle.Reset);
    }

    /// <inheritdoc/>
    /// <remarks>As <see cref="IGuestOpTee.PauseAsync"/>, within <see cref="OpTeeCompanionOptions.AnswerDeadline"/>. A
    /// core comes back when its quantum is over. OP-TEE's timers are served, and another OP-TEE takes the place of one
    /// that has failed, after the pause; OP-TEE's clock goes on. A start that is under way is waited for.
    /// <see cref="ResetAsync"/> and <see cref="DisposeAsync"/> of a paused VM are not held.</remarks>
    public Task<bool> PauseAsync(CancellationToken cancellationToken = default)
    {
        _lifeCycle.ThrowIfDisposed();
        return _pause.PauseAsync(() => _pause.IsQuiet, _setup.Options.AnswerDeadline, cancellationToken);
    }

    /// <inheritdoc/>
    public void Resume()
    {
        _lifeCycle.ThrowIfDisposed();
        _pause.Resume();
    }

    /// <summary>The VM has been destroyed: ends its OP-TEE.</summary>
    /// <returns>A task that ends when all is freed.</returns>
    /// <remarks>May be called from any thread, and more than once.</remarks>
    public ValueTask DisposeAsync() => new(_ending.Value);

    /// <summary>For tests: a companion in VMs of another making.</summary>
    internal static OpTeeCompanion Start(CompanionSetup setup) => new(setup, state: null, arrival: null);

    /// <summary>For tests: a companion that goes on in VMs of another making.</summary>
    internal static OpTeeCompanion Restore(
        CompanionSetup setup, Stream source, VmStateOptions stateOptions, OpTeeCompanionArrival? arrival)
    {
        using VmStateReader state = new(source, stateOptions);
        return new(setup, state, arrival);
    }

    private static Task<OpTeeCompanion> RestoreWithAsync(
        Func<CompanionSetup> prepare, Stream source, VmStateOptions stateOptions, OpTeeCompanionArrival? arrival = null)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(stateOptions);
        return Task.Run(() =>
        {
            using VmStateReader state = new(source, stateOptions);
            return new OpTeeCompanion(prepare(), state, arrival);
        });
    }

    private Task SaveWithAsync(Stream target, VmStateOptions stateOptions, OpTeeCompanionCopy? copy)
    {
        ArgumentNullException.ThrowIfNull(target);
        ArgumentNullException.ThrowIfNull(stateOptions);
        _lifeCycle.ThrowIfDisposed();
        return Task.Run(() => _lifeCycle.Save(target, stateOptions, copy));
    }

    private void End()
    {
        GuestGauges.Shared.Remove(this);
        _lifeCycle?.Dispose();
        _line?.Dispose();
        _setup.Dispose();
    }
}
