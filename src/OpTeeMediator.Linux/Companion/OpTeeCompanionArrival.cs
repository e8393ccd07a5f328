using System.Diagnostics.CodeAnalysis;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Memory;

namespace OpTeeMediator.Linux.Companion;

/// <summary>Receives the memory of an OP-TEE that still runs elsewhere, in rounds.</summary>
/// <remarks>
/// <code>
/// using OpTeeCompanionArrival arrival = new(options, stateOptions);
/// arrival.RestoreRound(source);     // as often as the other side calls SaveRound
/// OpTeeCompanion optee = await OpTeeCompanion.RestoreAsync(kvm, memory, options, source, stateOptions, arrival);
/// </code>
/// <para><see cref="OpTeeCompanionCopy"/> is its counterpart. Not thread-safe.</para>
/// </remarks>
[Experimental("OPTEE001")]
public sealed class OpTeeCompanionArrival : IDisposable
{
    private readonly OpTeeCompanionOptions _options;
    private readonly VmStateOptions _stateOptions;
    private MemfdGuestMemory? _memory;
    private Guid _copy;
    private int _rounds;
    private bool _isDisposed;

    /// <summary>Prepares for an OP-TEE that comes.</summary>
    /// <param name="options">Those of the companion that is to be: they say where its memory lies.</param>
    /// <param name="stateOptions">Whose state it is, and its key.</param>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">An option is outside its range.</exception>
    public OpTeeCompanionArrival(OpTeeCompanionOptions options, VmStateOptions stateOptions)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(stateOptions);
        options.Validate();
        _options = options;
        _stateOptions = stateOptions;
    }

    /// <summary>Reads what <see cref="OpTeeCompanionCopy.SaveRound"/> has written.</summary>
    /// <param name="source">Where it is read.</param>
    /// <exception cref="ArgumentNullException">The source is <see langword="null"/>.</exception>
    /// <exception cref="InvalidDataException">The round is cut off, was changed, is that of another VM, of another copy
    /// or of another platform, or one before it is missing; the message says which.</exception>
    /// <exception cref="ObjectDisposedException">It was disposed of, a round was refused, or the OP-TEE is
    /// there.</exception>
    /// <exception cref="SystemCallException">The host has no memory for it.</exception>
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
            if (mark.Content != CompanionContent.Rest)
            {
                _memory?.Dispose();
                _memory = null;
            }

            if (mark.Content == CompanionContent.Whole)
            {
                _memory = CompanionVm.CreateMemory(_options);
                GuestMemoryState.Restore(_memory, state.OpenSection(CompanionTee.MemorySection));
            }
            else if (mark.Content == CompanionContent.Rest)
            {
                GuestMemoryState.RestorePages(Memory, state.OpenSection(CompanionTee.MemorySection));
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
        _memory?.Dispose();
        _memory = null;
    }

    /// <summary>Hands the memory over, to which the rest is to be added.</summary>
    /// <exception cref="InvalidDataException">The state does not follow the rounds, or has another
    /// platform.</exception>
    internal MemfdGuestMemory Take(VmStateReader state, OpTeeCompanionOptions options)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        CopyMark mark = CopyMark.Read(state);
        Check(mark);
        MemfdGuestMemory memory = Memory;
        if (mark.Content != CompanionContent.Rest
            || !memory.Regions.Select(region => region.Range).SequenceEqual(CompanionVm.MemoryRanges(options)))
        {
            throw new InvalidDataException("What was copied of OP-TEE's memory is that of another platform.");
        }

        _isDisposed = true;
        _memory = null;
        return memory;
    }

    private MemfdGuestMemory Memory => _memory
        ?? throw new InvalidDataException("The state has a part of OP-TEE's memory whose beginning has not come.");

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
