using MinimalVmm.Guest;
using MinimalVmm.Machine;
using MinimalVmm.Tee;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Smccc;
using OpTeeMediator.Software;

namespace MinimalVmm;

/// <summary>A VMM whose guest has an OP-TEE.</summary>
/// <remarks>
/// Read on in <see cref="VirtualMachineMonitor"/> (the vCPU loop), <see cref="GuestProgram"/> (what the guest does) and
/// <see cref="ReverseApplication"/> (a trusted application).
/// </remarks>
internal static class Program
{
    private static async Task<int> Main(string[] arguments)
    {
        if (arguments is not ([] or ["--managed"]))
        {
            await Console.Error.WriteLineAsync("Usage: MinimalVmm [--managed]\n  --managed  interpret the guest's machine code instead of running it in KVM");
            return 2;
        }

        return await RunAsync(Console.Out, CreateTee(), isManaged: arguments.Length == 1);
    }

    /// <summary>A TEE in this process: a trusted application of our own, beside the random number generator that comes with it.</summary>
    internal static SoftwareTee CreateTee() =>
        new(new SoftwareTeeOptions().Add(new TrustedApplicationManifest(ReverseApplication.Uuid), () => new ReverseApplication()));

    /// <summary>Creates a VM with an OP-TEE and runs the guest in it.</summary>
    /// <returns>The exit code: 0 only if the guest found everything as it should be.</returns>
    internal static async Task<int> RunAsync(TextWriter output, ITeeBackend tee, bool isManaged)
    {
        using IMachine machine = CreateMachine(new GuestRange(GuestProgram.RamStart, GuestProgram.RamSize), isManaged, output);

        OpTeeGuestOptions options = new() { Access = TeeAccess.Only(ReverseApplication.Uuid, SoftwareTee.RandomNumberGeneratorUuid) };
        await using OpTeeGuest optee = new(machine.Memory, tee, options);
        SmcRouter smc = new(optee);

        return new VirtualMachineMonitor(machine, smc, output).Run() ? 0 : 1;
    }

    private static IMachine CreateMachine(GuestRange ram, bool isManaged, TextWriter output)
    {
        string? reason = "it was asked not to";
        if (isManaged || !KvmMachine.TryCreate(ram, out IMachine? machine, out reason))
        {
            output.WriteLine($"Not using KVM: {reason}");
            machine = new ManagedMachine(ram);
        }

        output.WriteLine($"The guest runs {machine.Description}.\n");
        return machine;
    }
}
