using System.Runtime.InteropServices;
using OpTeeMediator.Guests;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Linux.Guests;

/// <summary>
/// A shared peripheral interrupt (SPI) of an arm64 VM of KVM, for
/// <see cref="OpTeeGuestOptions.NotificationInterrupt"/>.
/// </summary>
/// <remarks>
/// <code>
/// KvmInterruptLine line = new(spi);            // the SPI that the device tree names, edge-triggered
/// … new OpTeeGuestOptions { NotificationInterrupt = line }
/// line.Connect(vm);                            // once the VM exists, and again if a reboot makes a new one
/// </code>
/// <para>
/// A pulse is KVM_IRQ_LINE with 1, then with 0: by the second the GIC in the kernel has latched the edge. An irqfd
/// would do with one system call, but its interrupt takes a detour over the kernel's work queue, and it needs an event
/// file, a GIC that is initialised when it is made, and another one for each new VM. It pays where another process or
/// the kernel itself raises the interrupt.
/// </para>
/// <para>When the VM's file is closed, pulses go nowhere: a VMM may dispose of VM and mediator in any order.
/// Thread-safe; a pulse allocates nothing.</para>
/// </remarks>
public sealed class KvmInterruptLine : IInterruptLine
{
    // Interrupts 0–31 of a GIC are private to a CPU.
    private const int FirstSpi = 32;
    private const int HighestSpi = 1019 - FirstSpi;

    private readonly uint _input;
    private volatile SafeHandle? _vm;

    /// <summary>An interrupt that leads to no VM yet.</summary>
    /// <param name="spi">Its number in the device tree, 0–987: 0 is interrupt 32 of the GIC.</param>
    /// <exception cref="ArgumentOutOfRangeException">The number is no SPI's.</exception>
    public KvmInterruptLine(int spi)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(spi);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(spi, HighestSpi);
        Spi = spi;
        _input = Arm64Interrupt.Spi(FirstSpi + spi);
    }

    /// <inheritdoc/>
    public int Spi { get; }

    /// <summary>Lets the interrupt lead to a VM, and to no other any more.</summary>
    /// <param name="vm">The VM's file, which stays the caller's. For a bare descriptor, a
    /// <see cref="Microsoft.Win32.SafeHandles.SafeFileHandle"/> that is disposed of before the descriptor is
    /// closed.</param>
    /// <exception cref="ArgumentNullException"><paramref name="vm"/> is <see langword="null"/>.</exception>
    public void Connect(SafeHandle vm)
    {
        ArgumentNullException.ThrowIfNull(vm);
        _vm = vm;
    }

    /// <inheritdoc/>
    /// <exception cref="InvalidOperationException">The interrupt was never connected.</exception>
    /// <exception cref="SystemCallException">KVM refuses: the VM has no initialised GIC in the kernel, or none with
    /// that many interrupts.</exception>
    public void Pulse()
    {
        SafeHandle vm = _vm ?? throw new InvalidOperationException(
            $"SPI {Spi} leads to no VM: call {nameof(Connect)} when the VM is made.");
        if (vm.IsClosed)
        {
            return;
        }

        try
        {
            KvmVm.SetInterruptLine(vm, _input, isActive: true);
            KvmVm.SetInterruptLine(vm, _input, isActive: false);
        }
        catch (ObjectDisposedException)
        {
            // Closed between the look above and the call.
        }
    }
}
