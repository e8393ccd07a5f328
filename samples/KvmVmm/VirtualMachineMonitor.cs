using System.Diagnostics;
using KvmVmm.CommandLine;
using KvmVmm.Cpus;
using KvmVmm.DeviceTree;
using KvmVmm.HostConsole;
using KvmVmm.Logging;
using KvmVmm.Machine;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Kvm;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;

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
        using ErrorStreamLoggerFactory loggers = new(options.LogLevel);
        ILogger log = loggers.CreateLogger(nameof(KvmVmm));
        GuestRange ram = new(MemoryMap.RamStart, (ulong)options.MemoryMebibytes << 20);

        using KvmSystem kvm = KvmSystem.Open();
        using MemfdGuestMemory memory =
            MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { LoggerFactory = loggers }, ram);
        await using TeeWiring tee = new(options, kvm, memory, loggers);
        using DiskFile? disk = options.Disk is { } path ? DiskFile.Open(path) : null;
        using BootImages images = BootImages.Open(options, ram, tee.ReservedMemory);

        // Not Console.OpenStandardInput: on a terminal that one edits lines.
        using FileStream input =
            new(new SafeFileHandle(StandardInput, ownsHandle: false), FileAccess.Read, bufferSize: 0);
        using GuestConsole console = new(input, Console.OpenStandardOutput(), RawTerminal.TryEnter(), stop.Cancel);
        await using CancellationTokenRegistration registration = stop.Token.Register(console.StopWaiting);

        while (true)
        {
            byte[] deviceTree =
                MachineDeviceTree.Write(ram, options, images.Initrd, tee);
            images.Load(memory, deviceTree);
            log.GuestStarts(images.Entry, images.Initrd, images.DeviceTree);

            using VirtualMachine machine = new(kvm, memory, images, options.Cpus, console, disk, tee, log);
            long start = Stopwatch.GetTimestamp();
            CallCosts costs = new();
            MachineEnd end = await machine.RunAsync(costs, stop.Token);
            log.GuestEnded(
                Stopwatch.GetElapsedTime(start).TotalSeconds, end.ToString(), $"{costs} {tee.Report}".TrimEnd());
            if (end != MachineEnd.Reset)
            {
                return end;
            }

            await tee.ResetAsync();
        }
    }
}
