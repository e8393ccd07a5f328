using System.Diagnostics;
using System.Runtime.InteropServices;
using KvmVmm.CommandLine;
using KvmVmm.Cpus;
using KvmVmm.DeviceTree;
using KvmVmm.HostConsole;
using KvmVmm.Logging;
using KvmVmm.Machine;
using KvmVmm.Saving;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.State;

namespace KvmVmm;

/// <summary>Runs a guest. Each reboot creates a new machine; memory, console and TEE remain.</summary>
internal static class VirtualMachineMonitor
{
    private const int StandardInput = 0;

    /// <summary>Runs a guest until it powers off, or until it is stopped.</summary>
    /// <param name="options">What to run.</param>
    /// <param name="stop">Ends it.</param>
    /// <returns>How it has ended; never <see cref="MachineEnd.Reset"/>.</returns>
    public static async Task<MachineEnd> RunAsync(VmmOptions options, CancellationTokenSource stop)
    {
        using ILoggerFactory loggers = ErrorStreamLog.Create(options.LogLevel);
        ILogger log = loggers.CreateLogger(nameof(KvmVmm));
        GuestRange ram = new(MemoryMap.RamStart, (ulong)options.MemoryMebibytes << 20);

        using KvmSystem kvm = KvmSystem.Open();
        using MemfdGuestMemory memory =
            MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { LoggerFactory = loggers }, ram);
        using DiskFile? disk = options.Disk is { } path ? DiskFile.Open(path) : null;
        long begin = Stopwatch.GetTimestamp();
        using FileStream? saved = options.Restore is { } from ? OpenSaved(from) : null;
        Stream? teeState = null;
        using VmStateReader? state =
            saved is null ? null : StateFile.Open(saved, options, memory, disk, out teeState);
        long teeBegin = Stopwatch.GetTimestamp();
        await using TeeWiring tee = new(options, kvm, memory, loggers, teeState);
        TimeSpan teeTime = Stopwatch.GetElapsedTime(teeBegin);
        using BootImages images = BootImages.Open(options, ram, tee.ReservedMemory);

        // Not Console.OpenStandardInput: on a terminal that one edits lines.
        using FileStream input =
            new(new SafeFileHandle(StandardInput, ownsHandle: false), FileAccess.Read, bufferSize: 0);
        using GuestConsole console = new(input, Console.OpenStandardOutput(), RawTerminal.TryEnter(), stop.Cancel);
        await using CancellationTokenRegistration registration = stop.Token.Register(console.StopWaiting);

        bool isRestored = state is not null;
        while (true)
        {
            if (!isRestored)
            {
                byte[] deviceTree =
                    MachineDeviceTree.Write(ram, options, images.Initrd, tee);
                images.Load(memory, deviceTree);
                log.GuestStarts(images.Entry, images.Initrd, images.DeviceTree);
            }

            using VirtualMachine machine = new(kvm, memory, images, options.Cpus, console, disk, tee, log);
            if (isRestored)
            {
                machine.Restore(state!);
                state!.Complete();
                tee.Resume();
                log.Restored(Stopwatch.GetElapsedTime(begin).TotalSeconds, teeTime.TotalSeconds);
                isRestored = false;
            }

            long start = Stopwatch.GetTimestamp();
            CallCosts costs = new();
            MachineEnd end = await RunAsync(machine, costs, options, memory, disk, tee, log, stop.Token);
            log.GuestEnded(
                Stopwatch.GetElapsedTime(start).TotalSeconds, end.ToString(), $"{costs} {tee.Report}".TrimEnd());
            if (end != MachineEnd.Reset)
            {
                return end;
            }

            await tee.ResetAsync();
        }
    }

    /// <summary>Runs a machine until it ends or was saved. One that cannot be saved goes on.</summary>
    private static async Task<MachineEnd> RunAsync(
        VirtualMachine machine, CallCosts costs, VmmOptions options, MemfdGuestMemory memory, DiskFile? disk,
        TeeWiring tee, ILogger log, CancellationToken stop)
    {
        // SIGUSR1 on arm64 and x86-64.
        const PosixSignal SaveSignal = (PosixSignal)10;
        while (true)
        {
            using CancellationTokenSource halt = new();
            SaveTimes times = new();
            using PosixSignalRegistration? signal = options.Save is null
                ? null
                : PosixSignalRegistration.Create(SaveSignal, context =>
                {
                    context.Cancel = true;
                    _ = HaltAsync(tee, times, halt);
                });
            MachineEnd end = await machine.RunAsync(costs, stop, halt.Token);
            if (end != MachineEnd.Halted)
            {
                return end;
            }

            if (await TrySaveAsync(machine, options, memory, disk, tee, times, log))
            {
                return MachineEnd.Saved;
            }
        }
    }

    /// <summary>Halts the machine when no operation is left at its TEE, if that comes in time.</summary>
    private static async Task HaltAsync(TeeWiring tee, SaveTimes times, CancellationTokenSource halt)
    {
        try
        {
            long begin = Stopwatch.GetTimestamp();
            _ = await tee.DrainAsync();
            times.Drain = Stopwatch.GetElapsedTime(begin);
            times.PauseBegin = Stopwatch.GetTimestamp();
            await halt.CancelAsync();
        }
        catch (ObjectDisposedException)
        {
            // The guest has ended meanwhile.
        }
    }

    private static async Task<bool> TrySaveAsync(
        VirtualMachine machine, VmmOptions options, MemfdGuestMemory memory, DiskFile? disk, TeeWiring tee,
        SaveTimes times, ILogger log)
    {
        long begin = Stopwatch.GetTimestamp();
        bool isPaused = await tee.PauseAsync();
        times.Tee = Stopwatch.GetElapsedTime(begin);
        if (!isPaused)
        {
            log.NotSaved("its TEE does not come to a halt.");
            tee.Resume();
            return false;
        }

        try
        {
            (long size, long teeSize) = await StateFile.SaveAsync(options, memory, disk, tee, machine, times);
            log.Saved(
                size,
                teeSize,
                times.Drain.TotalSeconds,
                Stopwatch.GetElapsedTime(times.PauseBegin).TotalSeconds,
                times.Tee.TotalSeconds);
            return true;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or BootException
            or SystemCallException or NotSupportedException or InvalidOperationException or OpTeeStateException)
        {
            log.NotSaved(failure.Message);
            tee.Resume();
            return false;
        }
    }

    private static FileStream OpenSaved(string path)
    {
        try
        {
            return File.OpenRead(path);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new BootException($"--restore: {failure.Message}");
        }
    }
}
