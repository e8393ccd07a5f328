using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Kvm;

/// <summary>A VM of KVM.</summary>
/// <remarks>
/// Thread-safe. The kernel keeps the VM until this object, its vCPUs and its devices are all disposed of.
/// </remarks>
[Experimental("OPTEE001")]
public sealed class KvmVm : IDisposable
{
    private readonly SafeFileHandle _file;
    private readonly int _vcpuMappingSize;

    internal KvmVm(KvmSystem system, SafeFileHandle file)
    {
        _file = file;
        _vcpuMappingSize = system.VcpuMappingSize;
    }

    /// <summary>The VM's file, for ioctls that this class does not know; it stays owned by this object.</summary>
    public SafeHandle Handle => _file;

    /// <summary>Asks what KVM can do for this VM.</summary>
    /// <param name="capability">The capability.</param>
    /// <returns>0 if KVM does not have it; otherwise 1 or a number that the capability defines.</returns>
    /// <exception cref="SystemCallException">KVM does not answer.</exception>
    public int CheckCapability(KvmCapability capability) => KvmSystem.CheckCapability(_file, capability);

    /// <summary>Maps memory of this process into the VM (KVM_SET_USER_MEMORY_REGION).</summary>
    /// <param name="slot">The memory slot; what was in it is replaced.</param>
    /// <param name="guestAddress">The first guest address, a multiple of the host's page size.</param>
    /// <param name="length">The length in bytes, a multiple of the host's page size; 0 empties the slot.</param>
    /// <param name="hostAddress">
    /// Where the memory lies in this process; it must stay mapped as long as the slot has it.
    /// </param>
    /// <param name="flags">Whether the guest may write, and whether KVM logs the pages that are written.</param>
    /// <exception cref="SystemCallException">
    /// KVM refuses: misaligned, overlapping another slot, or a slot number that is too high.
    /// </exception>
    public unsafe void SetMemoryRegion(
        int slot, ulong guestAddress, ulong length, nint hostAddress, KvmMemoryFlags flags)
    {
        KvmUserspaceMemoryRegion region = new()
        {
            Slot = (uint)slot,
            Flags = (uint)flags,
            GuestPhysicalAddress = guestAddress,
            MemorySize = length,
            UserspaceAddress = (ulong)hostAddress,
        };

        // The kernel reads the structure during the call only.
        if (LibC.Ioctl(_file, KvmIoctl.KVM_SET_USER_MEMORY_REGION, &region) < 0)
        {
            throw new SystemCallException(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"KVM_SET_USER_MEMORY_REGION of slot {slot}, {length} bytes at guest address 0x{guestAddress:x},"
                        + $" host address 0x{hostAddress:x}"),
                Errno.Last,
                "EEXIST: it overlaps another slot. EINVAL: it is not aligned to pages, changes the size of a slot in"
                    + " use, or the slot number is too high (KVM_CAP_NR_MEMSLOTS).");
        }
    }

    /// <summary>Takes memory away from the VM.</summary>
    /// <param name="slot">The memory slot.</param>
    /// <exception cref="SystemCallException">KVM refuses: the slot is empty.</exception>
    public void RemoveMemoryRegion(int slot) => SetMemoryRegion(slot, 0, 0, 0, KvmMemoryFlags.None);

    /// <summary>Creates a vCPU.</summary>
    /// <param name="id">Its number, from 0.</param>
    /// <returns>The vCPU; on arm64 it must be initialised before it runs.</returns>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public KvmVcpu CreateVcpu(int id)
    {
        int descriptor = LibC.Ioctl(_file, KvmIoctl.KVM_CREATE_VCPU, (nuint)(uint)id);
        if (descriptor < 0)
        {
            throw new SystemCallException(
                string.Create(CultureInfo.InvariantCulture, $"KVM_CREATE_VCPU {id}"),
                Errno.Last,
                "EEXIST: the VM has this vCPU already. EINVAL: the number is too high (KVM_CAP_MAX_VCPUS).");
        }

        SafeFileHandle file = Descriptor.Own(descriptor);
        try
        {
            SafeMemoryMapping run = SafeMemoryMapping.OfFile(
                file,
                (nuint)_vcpuMappingSize,
                string.Create(CultureInfo.InvariantCulture, $"Mapping kvm_run of vCPU {id}"));
            return new KvmVcpu(this, id, file, run);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Creates a device that the kernel emulates (KVM_CREATE_DEVICE).</summary>
    /// <param name="type">The type of the device.</param>
    /// <returns>The device.</returns>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public unsafe KvmDevice CreateDevice(KvmDeviceType type)
    {
        KvmCreateDevice device = new() { Type = (uint)type };

        // The kernel fills the structure during the call only.
        return LibC.Ioctl(_file, KvmIoctl.KVM_CREATE_DEVICE, &device) == 0
            ? new KvmDevice(type.ToString(), Descriptor.Own(device.FileDescriptor))
            : throw new SystemCallException(
                $"KVM_CREATE_DEVICE {type}",
                Errno.Last,
                "ENODEV: this host cannot emulate it. EEXIST: the VM has one already.");
    }

    /// <summary>Raises or lowers an input of the interrupt controller in the kernel (KVM_IRQ_LINE).</summary>
    /// <param name="interrupt">
    /// The input; its encoding is the architecture's (arm64: <see cref="Arm64.Arm64Interrupt"/>; x86: the GSI).
    /// </param>
    /// <param name="isActive">Whether to raise it. An edge interrupt is raised and lowered again.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public void SetInterruptLine(uint interrupt, bool isActive) => SetInterruptLine(_file, interrupt, isActive);

    /// <summary>Whether the VM has an attribute (KVM_HAS_DEVICE_ATTR).</summary>
    /// <param name="group">The attribute's group.</param>
    /// <param name="attribute">The attribute.</param>
    /// <returns><see langword="true"/> if it has.</returns>
    public bool HasAttribute(uint group, ulong attribute) => KvmDevice.HasAttribute(_file, group, attribute);

    /// <summary>Sets an attribute of the VM (KVM_SET_DEVICE_ATTR).</summary>
    /// <typeparam name="T">The type of its value.</typeparam>
    /// <param name="group">The attribute's group.</param>
    /// <param name="attribute">The attribute.</param>
    /// <param name="value">The value.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public void SetAttribute<T>(uint group, ulong attribute, in T value)
        where T : unmanaged => KvmDevice.SetAttribute(_file, "VM", group, attribute, in value);

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    internal static unsafe void SetInterruptLine(SafeHandle vm, uint interrupt, bool isActive)
    {
        KvmIrqLevel level = new() { Irq = interrupt, Level = isActive ? 1u : 0 };

        // The kernel reads the structure during the call only.
        if (LibC.Ioctl(vm, KvmIoctl.KVM_IRQ_LINE, &level) < 0)
        {
            throw new SystemCallException(
                $"KVM_IRQ_LINE 0x{interrupt:x}",
                Errno.Last,
                "ENXIO: the VM has no interrupt controller in the kernel, or it is not initialised. EINVAL: it has no"
                    + " such input.");
        }
    }
}
