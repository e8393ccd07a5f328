using OpTeeMediator.Forwarding;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>OP-TEE's asynchronous notifications, where the VMM can deliver them.</summary>
internal sealed class NotificationTests
{
    private InterruptLine _line = null!;
    private ForwardedVm _vm = null!;

    [SetUp]
    public void CreateVm()
    {
        _line = new InterruptLine();
        _vm = new ForwarderBench().Create(options: new OpTeeForwarderOptions { NotificationInterrupt = _line });
    }

    [Test]
    public void Capability_WithAnInterrupt_IsOfferedWithOpTeesHighestValue()
    {
        SmcRegisters answer = _vm.Driver.Call(OpTeeSmc.ExchangeCapabilities);

        Assert.That(answer.X1, Is.EqualTo(0x74));
        Assert.That(answer.X2, Is.EqualTo(0x42));
        Assert.That(_vm.Forwarder.DeviceTreeNode.Spi, Is.EqualTo(_line.Spi));
    }

    [Test]
    public void Interrupt_BeforeTheGuestTakesNotifications_IsKeptFromIt()
    {
        int before = _line.Pulses;
        _vm.Forwarder.OnNotificationInterrupt();
        Assert.That(_line.Pulses, Is.EqualTo(before));

        Assert.That(_vm.Driver.Call(OpTeeSmc.EnableAsyncNotification).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        _vm.Forwarder.OnNotificationInterrupt();

        Assert.That(_line.Pulses, Is.EqualTo(before + 1));
        SmcRegisters value = _vm.Driver.Call(OpTeeSmc.GetAsyncNotificationValue);
        Assert.That((value.X0, value.X1, value.X2), Is.EqualTo(((ulong)OpTeeSmc.ReturnOk, 5ul, 1ul)));
    }

    [TestCase(OpTeeMessage.CommandDoBottomHalf)]
    [TestCase(OpTeeMessage.CommandStopAsyncNotification)]
    public void Message_OfTheGuestsDriver_ReachesOpTee(uint command) =>
        Assert.That(_vm.Driver.Send(new GuestMessage(command)).ReturnCode, Is.Zero);

    [Test]
    public void Interrupt_WhileOpTeeIsToldThatTheGuestTakesNotifications_IsNotLost()
    {
        _vm.Bench.OpTee.OnCall = call =>
        {
            if (call.X0 == OpTeeSmc.EnableAsyncNotification)
            {
                _vm.Forwarder.OnNotificationInterrupt();
            }
        };

        Assert.That(_vm.Driver.Call(OpTeeSmc.EnableAsyncNotification).X0, Is.EqualTo(OpTeeSmc.ReturnOk));

        Assert.That(_line.Pulses, Is.EqualTo(1));
    }

    [Test]
    public void Interrupt_AfterTheGuestHasStoppedNotifications_IsKeptFromIt()
    {
        _ = _vm.Driver.Call(OpTeeSmc.EnableAsyncNotification);
        _ = _vm.Driver.Send(new GuestMessage(OpTeeMessage.CommandStopAsyncNotification));

        _vm.Forwarder.OnNotificationInterrupt();

        Assert.That(_line.Pulses, Is.Zero);
    }

    private sealed class InterruptLine : IInterruptLine
    {
        public int Spi => 187;

        public int Pulses { get; private set; }

        public void Pulse() => Pulses++;
    }
}
