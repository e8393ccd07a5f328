using System.Globalization;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing.Forwarding;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>The fake that other tests rely on answers what a real OP-TEE has answered.</summary>
internal sealed class FakeOpTeeTests
{
    [Test]
    public void Answers_ToRecordedProbes_AreTheRecordedOnes()
    {
        FakeOpTee opTee = new(new ArrayRam(0x5000_0000, 1 << 24));
        int count = 0;
        foreach (string line in File.ReadLines(Path.Combine(TestContext.CurrentContext.TestDirectory, "Forwarding", "trace-optee-4.5-probes.txt")).Where(line => !line.StartsWith('#')))
        {
            ulong[][] sides = [.. line.Split("=>").Select(side => side.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(word => ulong.Parse(word, NumberStyles.HexNumber, CultureInfo.InvariantCulture)).ToArray())];
            SmcRegisters registers = default;
            sides[0].CopyTo(registers[..8]);
            if (IsMessage(opTee, registers))
            {
                continue;
            }

            opTee.MakeCall(ref registers);

            count++;
            bool isFast = new SmcFunctionId((uint)sides[0][0]).IsFast;
            Assert.That(registers.X0, Is.EqualTo(sides[1][0]), line);
            Assert.That(!isFast || (registers.X1, registers.X2, registers.X3) == (sides[1][1], sides[1][2], sides[1][3]), line);
        }

        Assert.That(count, Is.EqualTo(48));
    }

    // What these contained was not recorded with them.
    private static bool IsMessage(FakeOpTee opTee, SmcRegisters registers) =>
        registers.X0 == OpTeeSmc.CallWithArgument && registers.Pair(1, 2) >= opTee.Ram.Start && registers.Pair(1, 2) % 4096 == 0 && opTee.VirtualMachines.Contains((int)registers.X7);
}
