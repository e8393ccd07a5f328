using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Companion;

/// <summary>Copies the memory of an OP-TEE that runs, in rounds, for moving its VM: in the pause only what was written
/// last is left.</summary>
/// <remarks>
/// <code>
/// using OpTeeCompanionCopy copy = companion.StartCopy(stateOptions);
/// long pages = copy.SaveRound(target);                      // all; each further one: what was written meanwhile
/// // … stop the vCPUs, companion.PauseAsync
/// await companion.SaveAsync(target, stateOptions, copy);    // the rest
/// </code>
/// <para><see cref="OpTeeCompanionArrival"/> is its counterpart. Each round is a state of its own, protected as that of
/// <see cref="OpTeeCompanion.SaveAsync(Stream, VmStateOptions)"/>. If OP-TEE starts again, as at a reset, the next
/// round has all of its memory.</para>
/// <para>Not thread-safe, but for <see cref="Dispose"/>: the next round fails then.</para>
/// </remarks>
[Experimental("OPTEE001")]
public sealed class OpTeeCompanionCopy : IDisposable
{
    private readonly Guid _copy = Guid.NewGuid();
    private readonly TeeLifeCycle _lifeCycle;
    private readonly VmStateOptions _stateOptions;
    private CompanionTee? _tee;
    private int _rounds;
    private bool _hasEnded;

    internal OpTeeCompanionCopy(TeeLifeCycle lifeCycle, VmStateOptions stateOptions)
    {
        _lifeCycle = lifeCycle;
        _stateOptions = stateOptions;
    }

    /// <summary>Writes all memory of OP-TEE; after the first time the pages that were written since the last.</summary>
    /// <param name="target">Where it is written.</param>
    /// <returns>How many pages were written.</returns>
    /// <exception cref="ArgumentNullException">The target is <see langword="null"/>.</exception>
    /// <exception cref="ObjectDisposedException">The copy has ended, or the companion was disposed of.</exception>
    /// <exception cref="SystemCallException">KVM does not tell what OP-TEE has written.</exception>
    /// <exception cref="IOException">The target cannot be written.</exception>
    /// <remarks>OP-TEE and its guest go on meanwhile. After an exception the copy has ended.</remarks>
    public long SaveRound(Stream target)
    {
        ArgumentNullException.ThrowIfNull(target);
        try
        {
            MappedGuestMemory? memory = null;
            ImmutableArray<MappedMemoryRegion> regions = [];
            IReadOnlyList<GuestRange>? written = null;
            using IDisposable? hold = _lifeCycle.WithTee(tee =>
            {
                ObjectDisposedException.ThrowIf(_hasEnded, this);
                if (tee is not null && tee == _tee)
                {
                    written = tee.Memory.TakeWritten();
                }
                else
                {
                    _tee?.Memory.StopTracking();
                    tee?.Memory.StartTracking();
                    _tee = tee;
                }

                // Its memory stays, should another OP-TEE take its place meanwhile; the next round has all of that.
                memory = tee?.Memory.Inner;
                return memory?.Hold(out regions);
            });
            using VmStateWriter state = new(target, _stateOptions);
            CompanionContent content = memory is null ? CompanionContent.NoTee
                : written is null ? CompanionContent.Whole : CompanionContent.Rest;
            new CopyMark(_copy, _rounds++, content).Write(state);
            long pages = 0;
            if (memory is not null)
            {
                using Stream section = state.BeginSection(CompanionTee.MemorySection);
                pages = written is null
                    ? GuestMemoryState.SaveHeld(memory, regions, section)
                    : GuestMemoryState.SaveHeldPages(memory, written, section);
            }

            state.Complete();
            return pages;
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Ends the copy: nothing of OP-TEE's memory is tracked any more.</summary>
    public void Dispose() => _lifeCycle.EndCopy(this, () =>
    {
        _hasEnded = true;
        _tee?.Memory.StopTracking();
        _tee = null;
    });

    /// <summary>Whether the rounds up to now have this OP-TEE's memory. Under the companion's lock.</summary>
    internal bool Has(CompanionTee tee) => tee == _tee;

    /// <summary>Says in a state that it follows these rounds.</summary>
    internal void Mark(VmStateWriter state) => new CopyMark(_copy, _rounds, CompanionContent.Rest).Write(state);
}
