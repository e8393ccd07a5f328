using System.CommandLine;
using System.Runtime.InteropServices;
using KvmVmm.CommandLine;
using KvmVmm.Cpus;
using KvmVmm.Machine;
using KvmVmm.Migration;
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
        ParseResult line = VmmCommandLine.Parse(arguments);
        if (line.Errors.Count > 0)
        {
            return Complain(string.Join('\n', line.Errors.Select(error => error.Message)), WrongUsage);
        }

        // That of --help, for example.
        if (line.Action is not null)
        {
            return line.Invoke();
        }

        VmmOptions options = VmmCommandLine.OptionsOf(line);
        if (options.WrongCombination is { } wrong)
        {
            return Complain(wrong, WrongUsage);
        }

        using CancellationTokenSource stop = new();
        using PosixSignalRegistration interrupt = EndAt(PosixSignal.SIGINT, stop);
        using PosixSignalRegistration terminate = EndAt(PosixSignal.SIGTERM, stop);
        using PosixSignalRegistration hangUp = EndAt(PosixSignal.SIGHUP, stop);
        try
        {
            MachineEnd end = await VirtualMachineMonitor.RunAsync(options, stop);
            return end == MachineEnd.Crashed ? GuestCrashed : Success;
        }
        catch (Exception failure) when (failure is BootException or GuestStoppedException or SystemCallException
            or NotSupportedException or TeeUnavailableException or InvalidDataException
            or OpTeeStateException or MigrationException)
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
        string help = status == WrongUsage ? "\nkvmvmm --help explains the options." : "";
        Console.Error.WriteLine($"kvmvmm: {message}{help}");
        return status;
    }
}
