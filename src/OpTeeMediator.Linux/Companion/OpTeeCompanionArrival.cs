using System.Diagnostics.CodeAnalysis;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Memory;

namespace OpTeeMediator.Linux.Companion;

/// <summary>Receives the memory of an OP-TEE that still runs elsewhere, in rounds, and prepares its VM.</summary>
/// <remarks>
/// <code>
/// using OpTeeCompanionArrival arrival = new(kvm, memory, options, stateOptions);
/// arrival.RestoreRound(source);     // as often as the other side calls SaveRound
/// OpTeeCompanion optee = await OpTeeCompanion.RestoreAsync(source, stateOptions, arrival);
/// </code>
/// <para>What does not depend on the last state is done and checked before it comes, so that the VM is paused for as
/// short as possible, and does not stop for a move that cannot succeed: the image and the other options, the layout of
/// the memory, and what KVM has to offer, in the first round.</para>
/// <para><see cref="OpTeeCompanionCopy"/> is its counterpart. It has the memory and the VM of one OP-TEE at a time. Not
/// thread-safe.</para>
/// </remarks>
[Experimental("OPTEE001")]
public sealed class OpTeeCompanionArrival : IDisposable
{
    private readonly VmStateOptions _stateOptions;
    private ICompanionVm? _vm;
    private Guid _copy;
    private int _rounds;
    private bool _isDisposed;

    /// <summary>Prepares for an OP-TEE that comes.</summary>
    /// <param name="kvm">The host's KVM; it must outlive the companion that is to be.</param>
    /// <param name="memory">The VM's memory, with the regions that the VM has elsewhere; it must outlive the companion.
    /// What OP-TEE writes to it is tracked, for moving the VM again.</param>
    /// <param name="options">As those of the companion elsewhere; the image serves when the VM is reset.</param>
    /// <param name="stateOptions">Whose state it is, and its key.</param>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">An option is outside its range, or guest and OP-TEE need the same addresses;
    /// the message names them.</exception>
    public OpTeeCompanionArrival(
        KvmSystem kvm, TrackedGuestMemory memory, OpTeeCompanionOptions options, VmStateOptions stateOptions)
        : this(Prepare(kvm, memory, options), stateOptions)
    {
    }

    /// <summary>For tests: with VMs of another making.</summary>
    internal OpTeeCompanionArrival(CompanionSetup setup, VmStateOptions stateOptions)
    {
        ArgumentNullException.ThrowIfNull(stateOptions);
        Setup = setup;
        _stateOptions = stateOptions;
    }

    /// <summary>What the companion is to be made of.</summary>
    internal CompanionSetup Setup { get; }

    /// <summary>Reads what <see cref="OpTeeCompanionCopy.SaveRound"/> has written.</summary>
    /// <param name="source">Where it is read.</param>
    /// <exception cref="ArgumentNullException">The source is <see langword="null"/>.</exception>
    /// <exception cref="InvalidDataException">The round is cut off, was changed, is that of another VM, of another copy
    /// or of another platform, or one before it is missing; the message says which.</exception>
    /// <exception cref="ObjectDisposedException">It was disposed of, a round was refused, or the OP-TEE is
    /// there.</exception>
    /// <exception cref="SystemCallException">The host has no memory for it, or KVM refuses.</exception>
    /// <exception cref="NotSupportedException">This kernel has no SMCCC filter (arm64, Linux 6.4 and later), or guest
    /// RAM lies beyond the guest addresses that the host has.</exception>
    /// <remarks>Nothing is left after an exception: the move has failed.</remarks>
    public void RestoreRound(Stream source)
    {
        ArgumentNullException.ThrowIfNull(source);
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        try
        {
            using VmStateReader state = new(source, _stateOptions);
            CopyMark mark = CopyMark.Read(state);
            if (_rounds == 0)
            {
                _copy = mark.Copy;
            }

            Check(mark);
            if (mark.Content == CompanionContent.Rest)
            {
                GuestMemoryState.RestorePages(Vm.Memory.Inner, state.OpenSection(CompanionTee.MemorySection));
            }
            else
            {
                DisposeVm();
            }

            if (mark.Content == CompanionContent.Whole)
            {
                _vm = Setup.CreateVm(ReadMemory(state));
            }

            state.Complete();
            _rounds++;
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _isDisposed = true;
        DisposeVm();
    }

    /// <summary>Hands the VM over, to whose memory the rest is to be added.</summary>
    /// <exception cref="InvalidDataException">The state does not follow the rounds.</exception>
    internal ICompanionVm Take(VmStateReader state)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        CopyMark mark = CopyMark.Read(state);
        Check(mark);
        ICompanionVm vm = Vm;
        if (mark.Content != CompanionContent.Rest)
        {
            throw new InvalidDataException("What comes after the rounds of OP-TEE's memory is not their rest.");
        }

        _isDisposed = true;
        _vm = null;
        return vm;
    }

    private ICompanionVm Vm => _vm
        ?? throw new InvalidDataException("The state has a part of OP-TEE's memory whose beginning has not come.");

    private static CompanionSetup Prepare(KvmSystem kvm, TrackedGuestMemory memory, OpTeeCompanionOptions options)
    {
        ArgumentNullException.ThrowIfNull(kvm);
        ArgumentNullException.ThrowIfNull(memory);
        return CompanionSetup.ForKvm(kvm, memory.Inner, memory, options);
    }

    private MemfdGuestMemory ReadMemory(VmStateReader state)
    {
        MemfdGuestMemory memory = CompanionVm.CreateMemory(Setup.Options);
        try
        {
            GuestMemoryState.Restore(memory, state.OpenSection(CompanionTee.MemorySection));
            return memory;
        }
        catch
        {
            memory.Dispose();
            throw;
        }
    }

    private void DisposeVm()
    {
        _vm?.Dispose();
        _vm = null;
    }

    private void Check(CopyMark mark)
    {
        if (mark.Copy != _copy || mark.Rounds != _rounds)
        {
            throw new InvalidDataException(
                $"Round {mark.Rounds} of a copy of OP-TEE's memory does not follow the {_rounds} that have come: one is"
                    + " missing, comes twice, or is another copy's.");
        }
    }
}
