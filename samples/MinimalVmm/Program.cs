using System.Runtime.InteropServices;
using MinimalVmm.Machine;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;

namespace MinimalVmm;

/// <summary>A VMM whose guest has an OP-TEE.</summary>
internal static class Program
{
    private static async Task<int> Main(string[] arguments)
    {
        if (arguments is not ([] or ["--managed"]))
        {
            await Console.Error.WriteLineAsync(
                "Usage: MinimalVmm [--managed]\n  --managed  interpret the guest's code instead of running it in KVM");
            return 2;
        }

        return await RunAsync(Console.Out, isManaged: arguments.Length == 1);
    }

    /// <summary>Creates a VM with an OP-TEE and runs the guest.</summary>
    /// <returns>The guest's exit code: 0 if all its calls succeeded and the result is right.</returns>
    internal static async Task<int> RunAsync(TextWriter output, bool isManaged)
    {
        // The VM: RAM and a vCPU.
        using IMachine machine = CreateMachine(output, isManaged);
        GuestProgram.Load(machine.Memory);

        // The TEE: trusted applications in this process.
        SoftwareTeeBackend tee = new(new SoftwareTeeOptions().Add(
            new TrustedApplicationManifest(ReverseApplication.Uuid), () => new ReverseApplication()));

        // The VM's OP-TEE: SMCs in, operations of the TEE out.
        await using OpTeeGuest optee = new(
            machine.Memory, tee, new OpTeeGuestOptions { Access = TeeAccess.Only(ReverseApplication.Uuid) });
        SmcRouter smc = new(optee);

        while (true)
        {
            switch (machine.Run())
            {
                case GuestProgram.SmcPort:
                    HandleSmc(machine, smc, output);
                    break;
                case GuestProgram.ConsolePort:
                    await output.WriteAsync((char)machine.Al);
                    break;
                case GuestProgram.ExitPort:
                    return machine.Al;
                case byte port:
                    throw new InvalidOperationException($"The guest used port 0x{port:x}, which does not exist.");
            }
        }
    }

    private static IMachine CreateMachine(TextWriter output, bool isManaged)
    {
        if (!isManaged && OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64)
        {
            try
            {
                KvmMachine machine = new(GuestProgram.Ram, GuestProgram.Entry);
                output.WriteLine("The guest runs in a VM of KVM.");
                return machine;
            }
            catch (SystemCallException refusal)
            {
                output.WriteLine($"Not using KVM: {refusal.Message}");
            }
        }

        output.WriteLine("The guest's machine code is interpreted.");
        return new ManagedMachine(GuestProgram.Ram, GuestProgram.Entry);
    }

    // On arm64, KVM stops at the guest's smc, and KvmSmccc.Handle reads and writes only the registers that a call
    // needs.
    private static void HandleSmc(IMachine machine, SmcRouter smc, TextWriter output)
    {
        SmcRegisters registers = default;
        machine.X.CopyTo(registers[..machine.X.Length]);
        string call = Describe(machine, registers);
        _ = smc.Handle(ref registers);
        registers[..machine.X.Length].CopyTo(machine.X);
        output.WriteLine($"{call} → {registers.X0:x}");
    }

    private static string Describe(IMachine machine, in SmcRegisters registers) => registers.FunctionId.Value switch
    {
        OpTeeSmc.ExchangeCapabilities => "EXCHANGE_CAPABILITIES",
        OpTeeSmc.CallWithArgument when machine.Memory.TryRead(registers.Pair(high: 1, low: 2), out uint command) =>
            $"CALL_WITH_ARG: {GuestProgram.NameOf(command)}",
        uint function => $"SMC {function:x}",
    };
}
