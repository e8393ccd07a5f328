using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing.Forwarding;
using OpTeeMediator.Testing.Traces;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>The fake OP-TEE answers as a real OP-TEE did.</summary>
internal sealed class FakeOpTeeTests
{
    [Test]
    public void Answers_ToRecordedProbes_AreTheRecordedOnes()
    {
        FakeOpTee opTee = new(new ArrayRam(0x5000_0000, 1 << 24));
        int count = 0;
        string folder = Path.Combine(TestContext.CurrentContext.TestDirectory, "Forwarding");
        IEnumerable<string> lines = File.ReadLines(Path.Combine(folder, "trace-optee-4.5-probes.txt"));
        foreach (string line in lines.Where(line => !line.StartsWith('#')))
        {
            (ulong[] made, ulong[] answered) = SmcExchange.Parse(line);
            SmcRegisters registers = default;
            made.CopyTo(registers[..8]);
            if (IsMessage(opTee, registers))
            {
                continue;
            }

            opTee.MakeCall(ref registers);

            count++;
            int compared = new SmcFunctionId((uint)made[0]).IsFast ? 4 : 1;
            Assert.That(registers[..compared].ToArray(), Is.EqualTo(answered[..compared]), line);
        }

        Assert.That(count, Is.EqualTo(48));
    }

    // What these contained was not recorded with them.
    private static bool IsMessage(FakeOpTee opTee, SmcRegisters registers) =>
        registers.X0 == OpTeeSmc.CallWithArgument
        && registers.Pair(1, 2) >= opTee.Ram.Start
        && registers.Pair(1, 2) % 4096 == 0
        && opTee.VirtualMachines.Contains((int)registers.X7);
}
