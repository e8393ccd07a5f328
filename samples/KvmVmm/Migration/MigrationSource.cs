using System.Diagnostics;
using KvmVmm.CommandLine;
using KvmVmm.Machine;
using KvmVmm.Saving;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;

namespace KvmVmm.Migration;

/// <summary>The side of a move where the VM is.</summary>
/// <remarks>
/// <code>
/// source                                          destination
/// VMM.  what the machine is like              →
///                                             ←   ANSW  agrees, or refuses
/// MEMO  all memory, while the guest runs      →
/// NEXT  0    COPY  PAGE  written meanwhile    →   (several times)
///       the guest stops
/// NEXT  1    TEE.    PAGE  the last pages     →
/// KVM.  DEVS    CHEK  digests of pages, or 0  →   restores everything
///                                             ←   ANSW  can run, or refuses
///       gives the VM up: the end of the stream →  runs
/// </code>
/// COPY is a round of a companion's own memory, and is empty for another TEE.
/// </remarks>
internal sealed class MigrationSource : IDisposable
{
    /// <summary>The sections that a file does not have.</summary>
    public const string NextSection = "NEXT";

    /// <inheritdoc cref="NextSection"/>
    public const string PagesSection = "PAGE";

    /// <inheritdoc cref="NextSection"/>
    public const string CopySection = "COPY";

    /// <inheritdoc cref="NextSection"/>
    public const string CheckSection = "CHEK";

    // A destination that does not come to an end must not keep the guest from running.
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(120);

    private readonly VmmOptions _options;
    private readonly TrackedGuestMemory _memory;
    private readonly OpTeeCompanionCopy? _copy;
    private readonly MigrationConnection _connection;
    private readonly CancellationTokenRegistration _stopping;
    private int _rounds;

    private MigrationSource(
        VmmOptions options, TrackedGuestMemory memory, OpTeeCompanionCopy? copy, MigrationConnection connection,
        CancellationToken stop)
    {
        _options = options;
        _memory = memory;
        _copy = copy;
        _connection = connection;
        _stopping = stop.Register(connection.Abort);
    }

    /// <summary>Connects to the destination.</summary>
    /// <param name="options">Name the destination, and the machine.</param>
    /// <param name="memory">Its memory.</param>
    /// <param name="startCopy">Begins to copy its companion's memory; <see langword="null"/> is the result for another
    /// TEE.</param>
    /// <param name="stop">Ends the move, whatever it waits for, unless the VM was given up.</param>
    /// <exception cref="MigrationException">There is no destination.</exception>
    /// <exception cref="BootException">The key cannot be read.</exception>
    public static MigrationSource Connect(
        VmmOptions options, TrackedGuestMemory memory, Func<OpTeeCompanionCopy?> startCopy, CancellationToken stop)
    {
        VmStateOptions state = StateFile.Options(options);
        MigrationConnection connection = MigrationConnection.Open(options.MigrateTo!.Connect(stop), state, stop);
        try
        {
            return new(options, memory, startCopy(), connection, stop);
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    /// <summary>Has the destination agree, and copies the memory while the guest runs.</summary>
    /// <param name="disk">The machine's disk.</param>
    /// <exception cref="MigrationException">The destination refuses, or the connection has ended.</exception>
    public void CopyWhileRunning(DiskFile? disk) => ExplainFailure(() =>
    {
        VmStateWriter state = _connection.Writer;
        MachineDescription.Save(state, _options, disk);
        state.Flush();
        _ = _connection.ReadAnswer();

        _memory.StartTracking();
        using (Stream section = state.BeginSection(StateFile.MemorySection))
        {
            GuestMemoryState.Save(_memory.Inner, section);
        }

        state.Flush();
        long pages;
        do
        {
            pages = CopyRound();
        }
        while (pages > _options.MigrationRest && _rounds < _options.MigrationRounds);
    });

    /// <summary>Copies once more what was written meanwhile, so that a destination that waits does not end the
    /// move.</summary>
    /// <exception cref="MigrationException">The destination refuses, or the connection has ended.</exception>
    public void CopyAgain() => ExplainFailure(() => CopyRound());

    /// <summary>Sends the rest, and gives the VM up when the destination can run it.</summary>
    /// <param name="saveTee">Writes the state of its TEE, which is paused, but for what was copied.</param>
    /// <param name="saveMachine">Writes the machine's state. It does not run, and does not read its input.</param>
    /// <param name="digestTee">Computes the digest of its TEE's own memory; for --check-pages.</param>
    /// <param name="disk">Its disk.</param>
    /// <param name="times">Get the time that the TEE takes.</param>
    /// <returns>Rounds, bytes, and bytes of the TEE.</returns>
    /// <exception cref="MigrationException">The destination cannot run it: it may go on here.</exception>
    public (int Rounds, long Bytes, long TeeBytes) Finish(
        Action<Stream, OpTeeCompanionCopy?> saveTee, Action<VmStateWriter> saveMachine, Func<byte[]> digestTee,
        DiskFile? disk, SaveTimes times)
    {
        VmStateWriter state = _connection.Writer;
        long teeSize = 0;
        ExplainFailure(() =>
        {
            // Comparing pages takes as long as it takes.
            using Timer limit = new(
                _ => _connection.Abort(), null, _options.ChecksPages ? Timeout.InfiniteTimeSpan : LongestPause,
                Timeout.InfiniteTimeSpan);
            disk?.Flush();
            byte[] teeDigest = _options.ChecksPages ? digestTee() : [];
            WriteNext(state, isLast: true);
            long begin = Stopwatch.GetTimestamp();
            using (Stream section = state.BeginSection(StateFile.TeeSection))
            {
                saveTee(section, _copy);
                teeSize = section.Position;
            }

            times.Tee += Stopwatch.GetElapsedTime(begin);
            _ = WritePages(state);
            _rounds++;
            saveMachine(state);
            WriteCheck(state, teeDigest);
            state.Flush();
            times.Tee += _connection.ReadAnswer();
        });

        // From here on it is either there or here: who does not get the end of the stream does not run it.
        disk?.Unlock();
        try
        {
            state.Complete();
        }
        catch (IOException failure)
        {
            disk?.Lock();
            throw new MigrationException(failure.Message, failure);
        }

        return (_rounds, _connection.Written, teeSize);
    }

    /// <summary>Ends the connection: the destination does not run the VM unless it was given up.</summary>
    public void Dispose()
    {
        _stopping.Dispose();
        _connection.Dispose();
        _copy?.Dispose();
        _memory.StopTracking();
    }

    private void ExplainFailure(Action work)
    {
        try
        {
            work();
        }
        catch (IOException failure)
        {
            throw _connection.Explain(failure);
        }
    }

    private long CopyRound()
    {
        VmStateWriter state = _connection.Writer;
        WriteNext(state, isLast: false);
        long pages = WriteCopy(state) + WritePages(state);
        state.Flush();
        _rounds++;
        return pages;
    }

    private static void WriteNext(VmStateWriter state, bool isLast)
    {
        using Stream section = state.BeginSection(NextSection);
        section.WriteByte(isLast ? (byte)1 : (byte)0);
    }

    private long WriteCopy(VmStateWriter state)
    {
        using Stream section = state.BeginSection(CopySection);
        return _copy?.SaveRound(section) ?? 0;
    }

    private long WritePages(VmStateWriter state)
    {
        IReadOnlyList<GuestRange> pages = _memory.TakeWritten();
        using Stream section = state.BeginSection(PagesSection);
        return GuestMemoryState.SavePages(_memory.Inner, pages, section);
    }

    private void WriteCheck(VmStateWriter state, ReadOnlySpan<byte> teeDigest)
    {
        using Stream section = state.BeginSection(CheckSection);
        section.WriteByte(_options.ChecksPages ? (byte)1 : (byte)0);
        if (_options.ChecksPages)
        {
            PageDigests.Write(_memory.Inner, section);
            section.Write(teeDigest);
        }
    }
}
