using System.Runtime.InteropServices;
using ExampleApplications;
using KvmVmm.CommandLine;
using KvmVmm.Cpus;
using KvmVmm.Machine;
using KvmVmm.Tee;
using OpTeeMediator.Backends;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.State;

namespace KvmVmm;

/// <summary>A VMM for arm64 whose guest has an OP-TEE.</summary>
/// <remarks>
/// Read on in <see cref="TeeWiring"/> (all that concerns the TEE), <see cref="VirtualMachineMonitor"/> and
/// <see cref="VirtualCpu"/>.
/// </remarks>
internal static class Program
{
    private const int Success = 0;
    private const int Failure = 1;
    private const int WrongUsage = 2;
    private const int GuestCrashed = 3;

    private static async Task<int> Main(string[] arguments)
    {
        if (arguments is ["--help" or "-h"] or ["--list"])
        {
            string applications = $"{SumApplication.Description}\n{GuestApplication.Description}\n"
                + $"{StorageBenchmarkApplication.Description}\n{ExampleApplicationOptions.Description}";
            Console.WriteLine(arguments[0] == "--list" ? applications : CommandLineParser.Usage);
            return Success;
        }

        using CancellationTokenSource stop = new();
        using PosixSignalRegistration interrupt = EndAt(PosixSignal.SIGINT, stop);
        using PosixSignalRegistration terminate = EndAt(PosixSignal.SIGTERM, stop);
        using PosixSignalRegistration hangUp = EndAt(PosixSignal.SIGHUP, stop);
        try
        {
            MachineEnd end = await VirtualMachineMonitor.RunAsync(CommandLineParser.Parse(arguments), stop);
            return end == MachineEnd.Crashed ? GuestCrashed : Success;
        }
        catch (UsageException wrong)
        {
            return Complain($"{wrong.Message}\n{CommandLineParser.Usage}", WrongUsage);
        }
        catch (Exception failure) when (failure is BootException or GuestStoppedException or SystemCallException
            or NotSupportedException or TeeUnavailableException or InvalidDataException
            or OpTeeStateException)
        {
            return Complain(failure.Message, Failure);
        }
    }

    private static PosixSignalRegistration EndAt(PosixSignal signal, CancellationTokenSource stop) =>
        PosixSignalRegistration.Create(signal, context =>
        {
            context.Cancel = true;
            stop.Cancel();
        });

    private static int Complain(string message, int status)
    {
        Console.Error.WriteLine($"kvmvmm: {message}");
        return status;
    }
}
