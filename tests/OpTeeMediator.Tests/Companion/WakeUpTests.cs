using OpTeeMediator.Kvm.State;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Tests.State;

namespace OpTeeMediator.Tests.Companion;

/// <summary>Clients that wait in the guest's driver while their OP-TEE fails (NOTIFICATION_WAIT).</summary>
[TestFixture]
internal sealed class WakeUpTests
{
    private static readonly TimeSpan LongEnough = TimeSpan.FromSeconds(30);

    [TestCase(0ul, 255)]
    [TestCase(300ul, 300)]
    [TestCase(ulong.MaxValue, 65_535)]
    public async Task Failure_WithAnInterrupt_SendsEachValueOnce(ulong greatest, int expected)
    {
        CountingLine line = new();
        await using CompanionBench bench = Start(line);
        bench[1].Answer = [0, 0x3f, 0, greatest];
        _ = bench.Call(OpTeeSmc.ExchangeCapabilities, 1);
        Assert.That(line.Pulses, Is.Zero);

        Kill(bench);

        Assert.That(() => line.Pulses, Is.EqualTo(1).After(30_000, 10));
        Assert.That(Taken(bench), Is.EqualTo(Enumerable.Range(1, expected).Reverse()));
        Assert.That(bench.Call(OpTeeSmc.GetAsyncNotificationValue).X0, Is.EqualTo(SmcccReturn.NotSupported));
    }

    [Test]
    public async Task Failure_AndAnotherDriverBegins_SendsItNothing()
    {
        CountingLine line = new();
        await using CompanionBench bench = Start(line);
        Kill(bench);
        Assert.That(() => line.Pulses, Is.EqualTo(1).After(30_000, 10));

        Assert.That(bench.Call(OpTeeSmc.CallsUid).X0, Is.Zero);
        Assert.That(bench.Call(OpTeeSmc.GetAsyncNotificationValue).X2, Is.Zero, "the answer of the new OP-TEE");
        Kill(bench);

        Assert.That(() => line.Pulses, Is.EqualTo(2).After(30_000, 10));
        Assert.That(Taken(bench), Has.Count.EqualTo(255), "its own");
    }

    [Test]
    public async Task Restored_WithoutAnOpTee_SendsEachValueOnce()
    {
        VmStateOptions vm = new() { VmIdentity = Guid.NewGuid() };
        using MemoryStream state = new();
        await using (CompanionBench bench = Start(new CountingLine(), vms: 1))
        {
            Kill(bench);
            Assert.That(() => bench.Log.EventIds, Does.Contain(2303).After(30_000, 10), "there is no other one");
            Assert.That(await bench.Companion.PauseAsync().WaitAsync(LongEnough));
            await bench.Companion.SaveAsync(state, vm);
        }

        state.Position = 0;
        CountingLine line = new();
        await using OpTeeCompanion restored = OpTeeCompanion.Restore(
            CompanionBench.Setup(CompanionBench.Options() with { NotificationInterrupt = line }, _ => new FakeVm(2)),
            state, vm, arrival: null);
        Assert.That(line.Pulses, Is.Zero, "the VM is paused");
        restored.Resume();

        Assert.That(line.Pulses, Is.EqualTo(1));
        SmcRegisters registers = default;
        registers.X0 = OpTeeSmc.GetAsyncNotificationValue;
        Assert.That(restored.Handle(ref registers, SmcRegisterSet.All).Kind, Is.EqualTo(SmcOutcomeKind.Handled));
        Assert.That((registers.X0, registers.X1, registers.X2), Is.EqualTo((0ul, 255ul, 3ul)));
    }

    private static CompanionBench Start(CountingLine line, int vms = int.MaxValue) =>
        new(CompanionBench.Options() with { NotificationInterrupt = line },
            number => number < vms ? new FakeVm(2) : throw new IOException("There is no memory."));

    private static void Kill(CompanionBench bench)
    {
        foreach (FakeCpu cpu in bench.Vms[^1].Fakes)
        {
            cpu.Program = FakeCpu.Hang;
        }

        Assert.That(bench.Call(OpTeeSmc.CallWithArgument).X0, Is.EqualTo(SmcccReturn.NotSupported));
    }

    /// <summary>As Linux does at an interrupt.</summary>
    private static List<int> Taken(CompanionBench bench)
    {
        List<int> taken = [];
        SmcRegisters answer;
        do
        {
            answer = bench.Call(OpTeeSmc.GetAsyncNotificationValue);
            Assert.That((answer.X0, answer.X2 & OpTeeSmc.NotificationValueIsValid), Is.EqualTo((0ul, 1ul)));
            taken.Add((int)answer.X1);
        }
        while ((answer.X2 & OpTeeSmc.NotificationsArePending) != 0);

        return taken;
    }
}
