using System.Diagnostics;
using System.Net.Sockets;
using KvmVmm.CommandLine;
using KvmVmm.Machine;
using KvmVmm.Saving;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Memory;

namespace KvmVmm.Migration;

/// <summary>The side of a move to which the VM comes; see <see cref="MigrationSource"/>.</summary>
internal sealed class MigrationTarget : IDisposable
{
    private readonly MigrationConnection _connection;
    private readonly CancellationTokenRegistration _stopping;

    private MigrationTarget(MigrationConnection connection, CancellationToken stop)
    {
        _connection = connection;
        _stopping = stop.Register(connection.Abort);
    }

    /// <summary>Whether the source has given the VM up.</summary>
    public bool HasArrived { get; private set; }

    /// <summary>Waits for the source.</summary>
    /// <param name="options">Say where.</param>
    /// <param name="stop">Ends the wait, and the move.</param>
    /// <returns>The connection; <see langword="null"/> if the wait was ended.</returns>
    /// <exception cref="MigrationException">Nobody can connect, or somebody else has.</exception>
    /// <exception cref="BootException">The key cannot be read.</exception>
    public static async Task<MigrationTarget?> TryAcceptAsync(VmmOptions options, CancellationToken stop)
    {
        VmStateOptions state = StateFile.Options(options);
        try
        {
            Socket socket = await options.MigrateFrom!.AcceptAsync(stop);
            return new MigrationTarget(MigrationConnection.Open(socket, state, stop), stop);
        }
        catch (OperationCanceledException)
        {
            return null;
        }
    }

    /// <summary>Receives the memory, while the guest still runs at the source.</summary>
    /// <param name="options">What the machine is like.</param>
    /// <param name="memory">Its memory, all zero.</param>
    /// <param name="disk">Its disk.</param>
    /// <param name="arrival">Receives its companion's memory; <see langword="null"/> for another TEE.</param>
    /// <param name="tee">The state of its TEE.</param>
    /// <returns>The state from there on.</returns>
    /// <exception cref="InvalidDataException">It is another machine's, or the connection has ended.</exception>
    public VmStateReader Receive(
        VmmOptions options, MappedGuestMemory memory, DiskFile? disk, OpTeeCompanionArrival? arrival, out Stream tee)
    {
        VmStateReader state = _connection.Reader;
        MachineDescription.Check(state, options, disk);
        _connection.Agree(TimeSpan.Zero);
        GuestMemoryState.Restore(memory, state.OpenSection(StateFile.MemorySection));
        while (!IsLast(state))
        {
            Stream copy = state.OpenSection(MigrationSource.CopySection);
            arrival?.RestoreRound(copy);
            GuestMemoryState.RestorePages(memory, state.OpenSection(MigrationSource.PagesSection));
        }

        tee = state.OpenSection(StateFile.TeeSection);
        return state;
    }

    /// <summary>Receives the rest, and waits until the source has given the VM up.</summary>
    /// <param name="memory">The memory.</param>
    /// <param name="restoreMachine">Reads the machine's state.</param>
    /// <param name="teeTime">The time that the restoration of its TEE took.</param>
    /// <param name="digestTee">Computes the digest of its TEE's own memory.</param>
    /// <param name="log">Where the result of a comparison is logged.</param>
    /// <returns>When the VM may run.</returns>
    /// <exception cref="InvalidDataException">The machine cannot run, or the connection has ended.</exception>
    public long Finish(
        MappedGuestMemory memory, Action<VmStateReader> restoreMachine, TimeSpan teeTime, Func<byte[]> digestTee,
        ILogger log)
    {
        VmStateReader state = _connection.Reader;
        GuestMemoryState.RestorePages(memory, state.OpenSection(MigrationSource.PagesSection));
        restoreMachine(state);
        Stream check = state.OpenSection(MigrationSource.CheckSection);
        if (check.ReadByte() != 0)
        {
            int pages = PageDigests.Compare(memory, check);
            PageDigests.CompareTee(digestTee(), check);
            log.PagesEqual(pages);
        }

        // The source alone decides from here on; as long as it has not, the VM is there.
        _connection.WaitForever();
        _connection.Agree(teeTime);
        try
        {
            state.Complete();
        }
        catch (Exception failure) when (failure is IOException or InvalidDataException)
        {
            throw new MigrationException($"the source has not given the VM up: {failure.Message}", failure);
        }

        HasArrived = true;
        return Stopwatch.GetTimestamp();
    }

    /// <summary>Says why the VM cannot run here.</summary>
    /// <param name="reason">The reason.</param>
    public void Refuse(string reason)
    {
        if (!HasArrived)
        {
            _connection.Refuse(reason);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _stopping.Dispose();
        _connection.Dispose();
    }

    private static bool IsLast(VmStateReader state) => state.OpenSection(MigrationSource.NextSection).ReadByte() switch
    {
        0 => false,
        1 => true,
        _ => throw new InvalidDataException("The source says neither that pages nor that the rest come next."),
    };
}
