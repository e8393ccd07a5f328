using System.Diagnostics;
using KvmVmm.CommandLine;
using KvmVmm.Cpus;
using KvmVmm.DeviceTree;
using KvmVmm.HostConsole;
using KvmVmm.Logging;
using KvmVmm.Machine;
using KvmVmm.Migration;
using KvmVmm.Saving;
using KvmVmm.Tee;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;

namespace KvmVmm;

/// <summary>Runs a guest. Each reboot creates a new machine; memory, console and TEE remain.</summary>
internal static class VirtualMachineMonitor
{
    /// <summary>Runs a guest until it powers off, or until it is stopped.</summary>
    /// <param name="options">What to run.</param>
    /// <param name="stop">Ends it.</param>
    /// <returns>How it has ended; never <see cref="MachineEnd.Reset"/>.</returns>
    public static async Task<MachineEnd> RunAsync(VmmOptions options, CancellationTokenSource stop)
    {
        if (options.MigrateFrom is null)
        {
            return await RunAsync(options, source: null, stop);
        }

        using MigrationTarget? source = await MigrationTarget.TryAcceptAsync(options, stop.Token);
        if (source is null)
        {
            return MachineEnd.Stopped;
        }

        try
        {
            return await RunAsync(options, source, stop);
        }
        catch (Exception failure) when (!source.HasArrived)
        {
            source.Refuse(failure.Message);
            throw new MigrationException($"The VM does not come, and stays where it was: {failure.Message}", failure);
        }
    }

    private static async Task<MachineEnd> RunAsync(
        VmmOptions options, MigrationTarget? source, CancellationTokenSource stop)
    {
        using ILoggerFactory loggers = ErrorStreamLog.Create(options.LogLevel);
        ILogger log = loggers.CreateLogger(nameof(KvmVmm));
        GuestRange ram = new(MemoryMap.RamStart, (ulong)options.MemoryMebibytes << 20);

        using KvmSystem kvm = KvmSystem.Open();
        using MemfdGuestMemory ownMemory =
            MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { LoggerFactory = loggers }, ram);
        TrackedGuestMemory memory = new(ownMemory);
        using DiskFile? disk = options.Disk is { } path ? DiskFile.Open(path, isLocked: source is null) : null;
        long begin = Stopwatch.GetTimestamp();
        using FileStream? saved = options.Restore is { } from ? OpenSaved(from) : null;
        Stream? teeState = null;
        KvmInterruptLine? notifications = TeeWiring.CreateNotifications(options);
        using OpTeeCompanionArrival? arrival = source is not null && options.Tee.Kind == TeeKind.Companion
            ? CompanionTee.Expect(kvm, memory, CompanionTee.Options(options, notifications, loggers))
            : null;
        using VmStateReader? state = source?.Receive(options, ownMemory, disk, arrival, out teeState)
            ?? (saved is null ? null : StateFile.Open(saved, options, ownMemory, disk, out teeState));
        long teeBegin = Stopwatch.GetTimestamp();
        await using TeeWiring tee = new(options, kvm, memory, notifications, loggers, teeState, arrival);
        TimeSpan teeTime = Stopwatch.GetElapsedTime(teeBegin);
        using BootImages images = BootImages.Open(options, ram, tee.ReservedMemory);

        using StandardInput input = StandardInput.Open();
        using GuestConsole console = new(input, Console.OpenStandardOutput(), RawTerminal.TryEnter(), stop.Cancel);
        await using CancellationTokenRegistration registration = stop.Token.Register(console.StopWaiting);

        bool isRestored = state is not null;
        while (true)
        {
            if (!isRestored)
            {
                byte[] deviceTree =
                    MachineDeviceTree.Write(ram, options, images.Initrd, tee);
                images.Load(ownMemory, deviceTree);
                log.GuestStarts(images.Entry, images.Initrd, images.DeviceTree);
            }

            using VirtualMachine machine = new(kvm, memory, images, options.Cpus, console, disk, tee, log);
            if (isRestored && source is not null)
            {
                long given = source.Finish(ownMemory, machine.Restore, teeTime, tee.Digest, log);
                disk?.Lock();
                tee.Resume();
                log.Arrived(Stopwatch.GetElapsedTime(given).TotalMilliseconds, teeTime.TotalSeconds);
            }
            else if (isRestored)
            {
                machine.Restore(state!);
                state!.Complete();
                tee.Resume();
                log.Restored(Stopwatch.GetElapsedTime(begin).TotalSeconds, teeTime.TotalSeconds);
            }

            isRestored = false;
            console.ContinueInput();
            long start = Stopwatch.GetTimestamp();
            CallCosts costs = new();
            MachineEnd end = await RunAsync(
                machine, costs, () => new Departure(options, memory, disk, tee, console, log), stop.Token);
            log.GuestEnded(
                Stopwatch.GetElapsedTime(start).TotalSeconds, end.ToString(), $"{costs} {tee.Report}".TrimEnd());
            if (end != MachineEnd.Reset)
            {
                return end;
            }

            await tee.ResetAsync();
        }
    }

    /// <summary>Runs a machine until it ends, or was saved or moved. One that cannot be goes on.</summary>
    private static async Task<MachineEnd> RunAsync(
        VirtualMachine machine, CallCosts costs, Func<Departure> prepareDeparture, CancellationToken stop)
    {
        while (true)
        {
            await using Departure departure = prepareDeparture();
            MachineEnd end = await machine.RunAsync(costs, stop, departure.Halt);
            if (end == MachineEnd.Halted)
            {
                end = await departure.LeaveAsync(machine);
            }

            if (end != MachineEnd.Halted)
            {
                return end;
            }
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
