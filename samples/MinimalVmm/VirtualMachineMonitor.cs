using Iced.Intel;
using MinimalVmm.Calls;
using MinimalVmm.Guest;
using MinimalVmm.Machine;
using OpTeeMediator.Smccc;

namespace MinimalVmm;

/// <summary>Runs the guest and hands each of its SMCs to a handler.</summary>
internal sealed class VirtualMachineMonitor(IMachine machine, ISmcHandler smc, TextWriter output)
{
    // OP-TEE uses X0 to X7. Reading and writing all of them costs nothing here; on arm64, where each is a system call, KvmSmccc asks which are needed.
    private const int RegisterCount = 8;

    private readonly GuestProgram _guest = new();
    private readonly CallTable _table = new(output);
    private readonly CallReader _reader = new(machine.Memory);

    /// <summary>Runs the guest to its end.</summary>
    /// <returns>Whether the guest found everything as it should be.</returns>
    public bool Run()
    {
        _ = machine.Memory.TryWrite(GuestProgram.CodeStart, _guest.Code);
        machine.Start(GuestProgram.CodeStart);
        _table.PrintHead();
        try
        {
            Doorbell doorbell;
            while ((doorbell = machine.Run()) == Doorbell.Smc)
            {
                HandleSmc();
            }

            return doorbell == Doorbell.Finished ? ReportEnd() : ReportFailure();
        }
        catch (GuestStoppedException stop)
        {
            output.WriteLine(stop.Message);
            return false;
        }
    }

    private void HandleSmc()
    {
        SmcRegisters registers = default;
        for (int index = 0; index < RegisterCount; index++)
        {
            registers[index] = machine[Register.R8 + index];
        }

        SmcRegisters before = registers;
        _reader.Before(before);
        _ = smc.Handle(ref registers);
        for (int index = 0; index < RegisterCount; index++)
        {
            machine[Register.R8 + index] = registers[index];
        }

        _table.Print(NextCheck(), before, registers, _reader.After(before, registers));
    }

    private bool ReportEnd()
    {
        ulong passed = machine[Register.RBP];
        bool isComplete = passed == (ulong)_guest.Checks.Count;
        output.WriteLine(isComplete
            ? $"The guest made {_table.Calls} calls and {passed} checks, and found everything as it should be."
            : $"The guest says it is through, but it made {passed} checks of {_guest.Checks.Count}.");
        return isComplete;
    }

    private bool ReportFailure()
    {
        Check check = NextCheck();
        string place = check.IsMemory ? $" at {machine[Register.RDI]:x}" : string.Empty;
        output.WriteLine($"step {check.Step}: {check.StepName}: {check.Subject}: expected {machine[Register.RCX]:x}, found {machine[Register.RAX]:x}{place}");
        return false;
    }

    // RBP counts the checks that passed, so it is the number of the one to come.
    private Check NextCheck() => _guest.Checks[(int)Math.Min(machine[Register.RBP], (ulong)_guest.Checks.Count - 1)];
}
