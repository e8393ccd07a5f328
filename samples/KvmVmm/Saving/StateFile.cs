using System.Diagnostics;
using KvmVmm.CommandLine;
using KvmVmm.Machine;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.SoftwareTee.Linux;
using OpTeeMediator.SoftwareTee.Storage;

namespace KvmVmm.Saving;

/// <summary>The files of --save and --restore.</summary>
/// <remarks>
/// <code>
/// VMM.  what the machine is like    MEMO  memory    TEE.  the TEE    KVM.  vCPUs, counters, GIC    DEVS  UART, disk
/// </code>
/// </remarks>
internal static class StateFile
{
    /// <summary>The section of the memory.</summary>
    public const string MemorySection = "MEMO";

    /// <summary>The section of the TEE.</summary>
    public const string TeeSection = "TEE.";

    private const string Keyring = "keyring:";

    /// <summary>Whose state it is, and its key.</summary>
    /// <param name="options">Name them.</param>
    /// <exception cref="BootException">The key cannot be read.</exception>
    public static VmStateOptions Options(VmmOptions options)
    {
        try
        {
            ITeeKeySource? source = options.StateKey switch
            {
                null => null,
                { } key when key.StartsWith(Keyring, StringComparison.Ordinal) =>
                    new KernelKeyringSource(key[Keyring.Length..]),
                { } file => new TeeKeyFile(file),
            };
            return new VmStateOptions { VmIdentity = options.VmId ?? Guid.Empty, Key = source?.ReadKey() };
        }
        catch (TeeStoreException failure)
        {
            throw new BootException(failure.Message);
        }
    }

    /// <summary>Writes the state of a machine whose vCPUs do not run and whose TEE is paused.</summary>
    /// <param name="options">Name the file.</param>
    /// <param name="memory">Its memory.</param>
    /// <param name="disk">Its disk.</param>
    /// <param name="tee">Its TEE.</param>
    /// <param name="machine">Everything else of it.</param>
    /// <param name="times">Gets the time that the TEE takes.</param>
    /// <returns>The size in bytes, and that of the TEE's part before it is encrypted.</returns>
    /// <exception cref="IOException">The file cannot be written; there is none then.</exception>
    /// <remarks>The file appears under its name when it is whole, and is on the disk when this returns.</remarks>
    public static async Task<(long Size, long TeeSize)> SaveAsync(
        VmmOptions options, MappedGuestMemory memory, DiskFile? disk, TeeWiring tee, VirtualMachine machine,
        SaveTimes times)
    {
        string path = options.Save!;
        string unfinished = path + ".unfinished";
        string written = unfinished;
        try
        {
            // What the guest has flushed is on the disk; the rest must be before the VM goes on elsewhere.
            disk?.Flush();
            await using FileStream file = CreateForOwnerOnly(unfinished);
            using VmStateWriter state = new(file, Options(options));
            MachineDescription.Save(state, options, disk);
            await using (Stream section = state.BeginSection(MemorySection))
            {
                GuestMemoryState.Save(memory, section);
            }

            long teeSize;
            long begin = Stopwatch.GetTimestamp();
            await using (Stream section = state.BeginSection(TeeSection))
            {
                await tee.SaveAsync(section);
                teeSize = section.Position;
            }

            times.Tee += Stopwatch.GetElapsedTime(begin);

            machine.Save(state);
            state.Complete();
            file.Flush(flushToDisk: true);
            File.Move(unfinished, path, overwrite: true);
            written = path;
            Folder.FlushEntry(path);
            return (file.Length, teeSize);
        }
        catch
        {
            File.Delete(written);
            throw;
        }
    }

    /// <summary>Opens the file of a saved machine, and restores its memory.</summary>
    /// <param name="file">The file.</param>
    /// <param name="options">What the machine is like.</param>
    /// <param name="memory">Its memory, all zero.</param>
    /// <param name="disk">Its disk.</param>
    /// <param name="tee">The state of its TEE.</param>
    /// <returns>The rest of the state, after the TEE's.</returns>
    /// <exception cref="InvalidDataException">The state is damaged, or another machine's.</exception>
    public static VmStateReader Open(
        Stream file, VmmOptions options, MappedGuestMemory memory, DiskFile? disk, out Stream tee)
    {
        VmStateReader state = new(file, Options(options));
        try
        {
            MachineDescription.Check(state, options, disk);
            GuestMemoryState.Restore(memory, state.OpenSection(MemorySection));
            tee = state.OpenSection(TeeSection);
            return state;
        }
        catch
        {
            state.Dispose();
            throw;
        }
    }

    /// <summary>Opens a new file, or an empty one, that only its owner can read.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="UnauthorizedAccessException">There is one of another user.</exception>
    public static FileStream CreateForOwnerOnly(string path)
    {
        const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        FileStreamOptions options = new() { Mode = FileMode.Create, Access = FileAccess.Write };
        if (OperatingSystem.IsWindows())
        {
            return new FileStream(path, options);
        }

        options.UnixCreateMode = OwnerOnly;
        FileStream file = new(path, options);
        try
        {
            // One that was there keeps its mode.
            File.SetUnixFileMode(file.SafeFileHandle, OwnerOnly);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }
}
