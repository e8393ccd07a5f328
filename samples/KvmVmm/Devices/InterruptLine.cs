using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;

namespace KvmVmm.Devices;

/// <summary>A level-sensitive interrupt of a device: the GIC in the kernel hears of changes only.</summary>
/// <remarks>Not thread-safe: its device's lock protects it.</remarks>
internal sealed class InterruptLine(KvmVm vm, int interrupt)
{
    private readonly uint _input = Arm64Interrupt.Spi(interrupt);
    private bool _isRaised;

    /// <summary>Has the GIC hear of it again, whatever it knows: its state was restored.</summary>
    public void Restore(bool isRaised)
    {
        _isRaised = isRaised;
        vm.SetInterruptLine(_input, isRaised);
    }

    /// <summary>Raises or lowers it.</summary>
    /// <param name="isRaised">Whether the device wants attention.</param>
    public void Set(bool isRaised)
    {
        if (isRaised != _isRaised)
        {
            _isRaised = isRaised;
            vm.SetInterruptLine(_input, isRaised);
        }
    }
}
