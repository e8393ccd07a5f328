using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Guests;

namespace OpTeeMediator.Tests.Linux;

/// <summary>The interrupt line as far as any machine's KVM goes: x86 takes KVM_IRQ_LINE too, but has no such input.
/// That it reaches a guest, machine tests show.</summary>
[TestFixture]
public sealed class KvmInterruptLineTests
{
    // KVM_CREATE_IRQCHIP, of x86 only.
    private const nuint CreateInterruptController = 0xae60;
    private const int Spi = 2;

    [TestCase(-1)]
    [TestCase(988)]
    public void Constructor_NumberOfNoSpi_IsRefused(int spi) =>
        Assert.That(() => new KvmInterruptLine(spi), Throws.TypeOf<ArgumentOutOfRangeException>());

    [TestCase(0)]
    [TestCase(987)]
    public void Spi_AnyLine_IsTheDeviceTreesNumber(int spi) =>
        Assert.That(new KvmInterruptLine(spi).Spi, Is.EqualTo(spi));

    [Test]
    public void Connect_ToNothing_IsRefused() => 
        Assert.That(() => new KvmInterruptLine(Spi).Connect(null!), Throws.ArgumentNullException);

    [Test]
    public void Pulse_NeverConnected_SaysWhatToDo() =>
        Assert.That(new KvmInterruptLine(Spi).Pulse, Throws.InvalidOperationException.With.Message.Contains("SPI 2")
            .And.Message.Contains("Connect"));

    [Test]
    public void Pulse_VmWithoutInterruptController_SaysSo()
    {
        using KvmSystem system = KvmHost.OpenX86();
        using KvmVm vm = system.CreateVm();
        KvmInterruptLine line = new(Spi);
        line.Connect(vm.Handle);

        Assert.That(line.Pulse, Throws.TypeOf<SystemCallException>().With.Message.Contains("KVM_IRQ_LINE 0x1000022")
            .And.Message.Contains("no interrupt controller"));
    }

    [Test]
    public void Pulse_VmDisposedOf_GoesNowhere()
    {
        using KvmSystem system = KvmHost.OpenX86();
        KvmInterruptLine line = new(Spi);
        using (KvmVm vm = system.CreateVm())
        {
            line.Connect(vm.Handle);
        }

        Assert.That(line.Pulse, Throws.Nothing);
    }

    [Test]
    public void Pulse_SecondVmConnected_GoesToThatOne()
    {
        using KvmSystem system = KvmHost.OpenX86();
        using KvmVm second = system.CreateVm();
        KvmInterruptLine line = new(Spi);
        using (KvmVm first = system.CreateVm())
        {
            line.Connect(first.Handle);
        }

        line.Connect(second.Handle);

        Assert.That(line.Pulse, Throws.TypeOf<SystemCallException>(),
            "A VM that is there says that it has no interrupt controller.");
    }

    [Test]
    public void Pulse_AgainAndAgain_AllocatesNothing()
    {
        using KvmSystem system = KvmHost.OpenX86();
        using KvmVm vm = CreateVmWithInterruptController(system);
        KvmInterruptLine line = new(Spi);
        line.Connect(vm.Handle);
        Pulse(line, 1000);

        long before = GC.GetAllocatedBytesForCurrentThread();
        Pulse(line, 1000);

        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }

    [Test]
    public void Pulse_WhileTheVmIsDisposedOf_NeverFails()
    {
        using KvmSystem system = KvmHost.OpenX86();
        KvmInterruptLine line = new(Spi);
        for (int round = 0; round < 20; round++)
        {
            KvmVm vm = CreateVmWithInterruptController(system);
            line.Connect(vm.Handle);
            Task[] pulses = [.. Enumerable.Range(0, 2).Select(_ => Task.Run(() => Pulse(line, 5000)))];

            vm.Dispose();

            Assert.That(() => Task.WaitAll(pulses), Throws.Nothing);
        }
    }

    private static void Pulse(KvmInterruptLine line, int times)
    {
        for (int count = 0; count < times; count++)
        {
            line.Pulse();
        }
    }

    private static KvmVm CreateVmWithInterruptController(KvmSystem system)
    {
        KvmVm vm = system.CreateVm();
        Assert.That(LibC.Ioctl(vm.Handle, CreateInterruptController, (nuint)0), Is.Zero,
            () => Errno.TextOf(Errno.Last));
        return vm;
    }
}
