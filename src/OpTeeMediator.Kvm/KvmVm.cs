using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Kvm;

/// <summary>A VM of KVM.</summary>
/// <remarks>Thread-safe. The kernel keeps the VM until it, its vCPUs and its devices are disposed of.</remarks>
[Experimental("OPTEE001")]
public sealed class KvmVm : IDisposable
{
    private readonly SafeFileHandle _file;
    private readonly int _vcpuMappingSize;
    private readonly Lock _slotLock = new();
    private readonly Dictionary<int, KvmUserspaceMemoryRegion> _slots = [];

    internal KvmVm(KvmSystem system, SafeFileHandle file)
    {
        _file = file;
        _vcpuMappingSize = system.VcpuMappingSize;
    }

    /// <summary>The VM's file, for ioctls that this class does not know; it stays owned by this object.</summary>
    public SafeHandle Handle => _file;

    /// <inheritdoc cref="KvmSystem.CheckCapability(KvmCapability)" path="/*[not(self::summary)]"/>
    /// <summary>Asks what KVM can do for this VM.</summary>
    public int CheckCapability(KvmCapability capability) => KvmSystem.CheckCapability(_file, capability);

    /// <summary>Maps memory of this process into the VM (KVM_SET_USER_MEMORY_REGION).</summary>
    /// <param name="slot">The memory slot; what was in it is replaced.</param>
    /// <param name="guestAddress">The first guest address, a multiple of the host's page size.</param>
    /// <param name="length">The length in bytes, a multiple of the host's page size; 0 empties the slot.</param>
    /// <param name="hostAddress">Where the memory lies in this process; it stays mapped as long as the slot.</param>
    /// <param name="flags">Whether the guest may write, and whether KVM logs the pages that are written.</param>
    /// <exception cref="SystemCallException">KVM refuses: misaligned, overlapping, or the slot too high.</exception>
    public void SetMemoryRegion(
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

        // KVM and this object's copies, whose lengths GetDirtyLog relies on, change as one.
        using Lock.Scope scope = _slotLock.EnterScope();
        Set(region);
    }

    /// <summary>Has KVM log the pages of a slot that are written, or no longer; whatever else it is stays.</summary>
    /// <param name="slot">A memory slot that is not empty.</param>
    /// <param name="isOn">Whether to log.</param>
    /// <exception cref="ArgumentException">The slot is empty.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    /// <remarks>vCPUs may run. What they write before the call ends is logged or not; what they write afterwards
    /// is.</remarks>
    public void SetDirtyLog(int slot, bool isOn)
    {
        using Lock.Scope scope = _slotLock.EnterScope();
        if (!_slots.TryGetValue(slot, out KvmUserspaceMemoryRegion region) || region.MemorySize == 0)
        {
            throw new ArgumentException($"Slot {slot} is empty: its writes cannot be logged.", nameof(slot));
        }

        const uint Flag = (uint)KvmMemoryFlags.LogDirtyPages;
        region.Flags = isOn ? region.Flags | Flag : region.Flags & ~Flag;
        Set(region);
    }

    /// <summary>Takes memory away from the VM.</summary>
    /// <param name="slot">The memory slot.</param>
    /// <exception cref="SystemCallException">KVM refuses: the slot is empty.</exception>
    public void RemoveMemoryRegion(int slot) => SetMemoryRegion(slot, 0, 0, 0, KvmMemoryFlags.None);

    /// <summary>The number of 64-bit words of a slot's dirty log: a bit for each page of the host.</summary>
    /// <param name="slot">The memory slot.</param>
    /// <returns>The length of the bitmap that <see cref="GetDirtyLog"/> fills; 0 for an empty slot.</returns>
    public int GetDirtyLogLength(int slot)
    {
        lock (_slotLock)
        {
            _ = _slots.TryGetValue(slot, out KvmUserspaceMemoryRegion region);
            ulong pages = region.MemorySize / (ulong)Environment.SystemPageSize;
            return (int)((pages + 63) / 64);
        }
    }

    /// <summary>Reads which pages of a slot were written (KVM_GET_DIRTY_LOG).</summary>
    /// <param name="slot">A memory slot with <see cref="KvmMemoryFlags.LogDirtyPages"/>.</param>
    /// <param name="bitmap">Receives bit n of word m for page 64m + n of the slot; at least
    /// <see cref="GetDirtyLogLength"/> words.</param>
    /// <exception cref="ArgumentException">The bitmap is too short, or the slot is empty.</exception>
    /// <exception cref="SystemCallException">KVM refuses: the slot does not log.</exception>
    /// <remarks>The log is empty then, unless <see cref="KvmCapability.ManualDirtyLog"/> is enabled:
    /// <see cref="ClearDirtyLog"/> empties it. What a vCPU writes meanwhile is in this log or the next.</remarks>
    public unsafe void GetDirtyLog(int slot, Span<ulong> bitmap)
    {
        // A slot that changes its length during the call would let KVM write beyond the bitmap.
        using Lock.Scope scope = _slotLock.EnterScope();
        int needed = GetDirtyLogLength(slot);
        if (needed == 0 || bitmap.Length < needed)
        {
            throw new ArgumentException(
                $"The dirty log of slot {slot} has {needed} words of 64 bits; the bitmap has {bitmap.Length}.",
                nameof(bitmap));
        }

        fixed (ulong* address = bitmap)
        {
            KvmDirtyLog log = new() { Slot = (uint)slot, Bitmap = address };
            if (LibC.Ioctl(_file, KvmIoctl.KVM_GET_DIRTY_LOG, &log) < 0)
            {
                throw new SystemCallException(
                    $"KVM_GET_DIRTY_LOG of slot {slot}", Errno.Last,
                    $"ENOENT: the slot was not set with {nameof(KvmMemoryFlags.LogDirtyPages)}.");
            }
        }
    }

    /// <summary>Takes pages out of a slot's dirty log and has KVM log their next write (KVM_CLEAR_DIRTY_LOG).</summary>
    /// <param name="slot">A memory slot with <see cref="KvmMemoryFlags.LogDirtyPages"/>.</param>
    /// <param name="firstPage">The first page of the slot, a multiple of 64.</param>
    /// <param name="pageCount">The number of pages, a multiple of 64 unless the slot ends with them.</param>
    /// <param name="bitmap">Bit n of word m for page <paramref name="firstPage"/> + 64m + n.</param>
    /// <exception cref="ArgumentException">The bitmap has fewer bits than pages.</exception>
    /// <exception cref="SystemCallException">KVM refuses: <see cref="KvmCapability.ManualDirtyLog"/> is not enabled,
    /// the slot does not log, or the pages are not the slot's.</exception>
    public unsafe void ClearDirtyLog(int slot, ulong firstPage, uint pageCount, ReadOnlySpan<ulong> bitmap)
    {
        if ((ulong)bitmap.Length * 64 < pageCount)
        {
            throw new ArgumentException(
                $"The bitmap has {bitmap.Length} words of 64 bits; expected a bit for each of {pageCount} pages.",
                nameof(bitmap));
        }

        fixed (ulong* address = bitmap)
        {
            KvmClearDirtyLog log = new()
            {
                Slot = (uint)slot, PageCount = pageCount, FirstPage = firstPage, Bitmap = address,
            };
            if (LibC.Ioctl(_file, KvmIoctl.KVM_CLEAR_DIRTY_LOG, &log) < 0)
            {
                throw new SystemCallException(
                    $"KVM_CLEAR_DIRTY_LOG of slot {slot}, {pageCount} pages from page {firstPage}", Errno.Last,
                    $"ENXIO: {nameof(KvmCapability.ManualDirtyLog)} is not enabled. ENOENT: the slot does not log."
                        + " EINVAL: the pages are not the slot's, or no multiples of 64.");
            }
        }
    }

    /// <summary>Makes KVM raise an interrupt whenever an event file is signalled (KVM_IRQFD).</summary>
    /// <param name="eventFile">The eventfd, such as an <see cref="EventFile"/>'s handle; KVM keeps it open.</param>
    /// <param name="interrupt">The GSI; on arm64 the SPI's number in device trees, 32 less than the GIC's.</param>
    /// <exception cref="ArgumentNullException"><paramref name="eventFile"/> is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses: there is no interrupt controller in the kernel, or the file
    /// is no eventfd or in use.</exception>
    /// <remarks>Each signal is an edge.</remarks>
    public void AddInterruptFile(SafeHandle eventFile, uint interrupt) =>
        SetInterruptFile(eventFile, null, interrupt, 0);

    /// <summary>Makes KVM raise an interrupt level by an event file (KVM_IRQFD with a resampler).</summary>
    /// <param name="eventFile">The eventfd that raises the line.</param>
    /// <param name="resampleFile">The eventfd that KVM signals when the guest has finished the interrupt and the line
    /// is low: the device raises it again if it still needs service.</param>
    /// <param name="interrupt">The GSI.</param>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public void AddInterruptFile(SafeHandle eventFile, SafeHandle resampleFile, uint interrupt)
    {
        ArgumentNullException.ThrowIfNull(resampleFile);
        SetInterruptFile(eventFile, resampleFile, interrupt, KvmIrqFile.Resample);
    }

    /// <inheritdoc cref="AddInterruptFile(SafeHandle, uint)" path="/*[not(self::summary)]"/>
    /// <summary>Ends <see cref="AddInterruptFile(SafeHandle, uint)"/>.</summary>
    public void RemoveInterruptFile(SafeHandle eventFile, uint interrupt) =>
        SetInterruptFile(eventFile, null, interrupt, KvmIrqFile.Deassign);

    /// <summary>Makes KVM signal an event file when the guest writes to an address (KVM_IOEVENTFD).</summary>
    /// <param name="eventFile">The eventfd, such as an <see cref="EventFile"/>'s handle; KVM keeps it open.</param>
    /// <param name="address">The guest address.</param>
    /// <param name="length">The length of the write in bytes, 1, 2, 4 or 8; 0 for any.</param>
    /// <exception cref="ArgumentNullException"><paramref name="eventFile"/> is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses: the address is taken, or the file is no eventfd.</exception>
    public void AddIoEventFile(SafeHandle eventFile, ulong address, int length) =>
        SetIoEventFile(eventFile, address, length, 0, 0);

    /// <summary>Makes KVM signal an event file when the guest writes one value there (with datamatch).</summary>
    /// <param name="eventFile">The eventfd.</param>
    /// <param name="address">The guest address.</param>
    /// <param name="length">The length of the write in bytes, 1, 2, 4 or 8.</param>
    /// <param name="value">The value; other values are MMIO exits, or other files' events.</param>
    /// <inheritdoc cref="AddIoEventFile(SafeHandle, ulong, int)" path="/exception"/>
    public void AddIoEventFile(SafeHandle eventFile, ulong address, int length, ulong value) =>
        SetIoEventFile(eventFile, address, length, value, KvmIoEventFile.DataMatch);

    /// <summary>Ends an event file's use for an address.</summary>
    /// <param name="eventFile">The eventfd.</param>
    /// <param name="address">The guest address.</param>
    /// <param name="length">The length, as it was added.</param>
    /// <param name="value">The value, as it was added; <see langword="null"/> if it was added without.</param>
    /// <inheritdoc cref="AddIoEventFile(SafeHandle, ulong, int)" path="/exception"/>
    public void RemoveIoEventFile(SafeHandle eventFile, ulong address, int length, ulong? value) => SetIoEventFile(
        eventFile, address, length, value ?? 0,
        KvmIoEventFile.Deassign | (value is null ? 0 : KvmIoEventFile.DataMatch));

    /// <summary>Enables a capability for the VM (KVM_ENABLE_CAP).</summary>
    /// <inheritdoc cref="KvmVcpu.EnableCapability" path="/*[not(self::summary)]"/>
    public void EnableCapability(KvmCapability capability, params ReadOnlySpan<ulong> arguments) =>
        Enable(_file, "the VM", capability, arguments);

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
                $"KVM_CREATE_VCPU {id}", Errno.Last,
                "EEXIST: the VM has this vCPU already. EINVAL: the number is too high (KVM_CAP_MAX_VCPUS).");
        }

        SafeFileHandle file = Descriptor.Own(descriptor);
        try
        {
            SafeMemoryMapping run = SafeMemoryMapping.OfFile(
                file, (nuint)_vcpuMappingSize, $"Mapping kvm_run of vCPU {id}");
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
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public unsafe KvmDevice CreateDevice(KvmDeviceType type)
    {
        KvmCreateDevice device = new() { Type = (uint)type };

        // The kernel fills the structure during the call only.
        return LibC.Ioctl(_file, KvmIoctl.KVM_CREATE_DEVICE, &device) == 0
            ? new KvmDevice(type.ToString(), Descriptor.Own(device.FileDescriptor))
            : throw new SystemCallException(
                $"KVM_CREATE_DEVICE {type}", Errno.Last,
                "ENODEV: this host cannot emulate it. EEXIST: the VM has one already.");
    }

    /// <summary>Raises or lowers an input of the interrupt controller in the kernel (KVM_IRQ_LINE).</summary>
    /// <param name="interrupt">The input; its encoding is the architecture's (arm64:
    /// <see cref="Arm64.Arm64Interrupt"/>; x86: the GSI).</param>
    /// <param name="isActive">Whether to raise it. An edge interrupt is raised and lowered again.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public void SetInterruptLine(uint interrupt, bool isActive) => SetInterruptLine(_file, interrupt, isActive);

    /// <inheritdoc cref="KvmDevice.HasAttribute(uint, ulong)" path="/*[not(self::summary)]"/>
    /// <summary>Whether the VM has an attribute (KVM_HAS_DEVICE_ATTR).</summary>
    public bool HasAttribute(uint group, ulong attribute) => KvmDevice.HasAttribute(_file, group, attribute);

    /// <inheritdoc cref="KvmDevice.SetAttribute{T}(uint, ulong, in T)" path="/*[not(self::summary)]"/>
    /// <summary>Sets an attribute of the VM (KVM_SET_DEVICE_ATTR).</summary>
    public void SetAttribute<T>(uint group, ulong attribute, in T value)
        where T : unmanaged => KvmDevice.SetAttribute(_file, "VM", group, attribute, in value);

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    internal static unsafe void Enable(
        SafeHandle file, string name, KvmCapability capability, ReadOnlySpan<ulong> arguments)
    {
        if (arguments.Length > KvmEnableCapability.ArgumentWords.Count)
        {
            throw new ArgumentException(
                $"A capability has at most {KvmEnableCapability.ArgumentWords.Count} arguments.", nameof(arguments));
        }

        KvmEnableCapability argument = new() { Capability = (uint)capability };
        arguments.CopyTo(argument.Arguments);

        // The kernel reads the structure during the call only.
        if (LibC.Ioctl(file, KvmIoctl.KVM_ENABLE_CAP, &argument) < 0)
        {
            throw new SystemCallException(
                $"KVM_ENABLE_CAP {capability} of {name}", Errno.Last,
                "EINVAL: this host does not have it, it cannot be enabled there or now, or an argument is wrong.");
        }
    }

    internal static unsafe void SetInterruptLine(SafeHandle vm, uint interrupt, bool isActive)
    {
        KvmIrqLevel level = new() { Irq = interrupt, Level = isActive ? 1u : 0 };

        // The kernel reads the structure during the call only.
        if (LibC.Ioctl(vm, KvmIoctl.KVM_IRQ_LINE, &level) < 0)
        {
            throw new SystemCallException(
                $"KVM_IRQ_LINE 0x{interrupt:x}", Errno.Last,
                "ENXIO: the VM has no interrupt controller in the kernel, or it is not initialised. EINVAL: it has no"
                    + " such input.");
        }
    }

    /// <summary>Under the lock.</summary>
    private unsafe void Set(KvmUserspaceMemoryRegion region)
    {
        // The kernel reads the structure during the call only.
        if (LibC.Ioctl(_file, KvmIoctl.KVM_SET_USER_MEMORY_REGION, &region) < 0)
        {
            throw new SystemCallException(
                $"KVM_SET_USER_MEMORY_REGION of slot {region.Slot}, {region.MemorySize} bytes at guest address"
                    + $" 0x{region.GuestPhysicalAddress:x}, host address 0x{region.UserspaceAddress:x}",
                Errno.Last,
                "EEXIST: it overlaps another slot. EINVAL: it is not aligned to pages, changes the size of a slot in"
                    + " use, or the slot number is too high (KVM_CAP_NR_MEMSLOTS).");
        }

        _slots[(int)region.Slot] = region;
    }

    private unsafe void SetInterruptFile(SafeHandle eventFile, SafeHandle? resampleFile, uint interrupt, uint flags)
    {
        ArgumentNullException.ThrowIfNull(eventFile);
        KvmIrqFile argument = new()
        {
            FileDescriptor = (int)eventFile.DangerousGetHandle(),
            Interrupt = interrupt,
            Flags = flags,
            ResampleFileDescriptor = (int)(resampleFile?.DangerousGetHandle() ?? 0),
        };
        int answer = LibC.Ioctl(_file, KvmIoctl.KVM_IRQFD, &argument);
        GC.KeepAlive(eventFile);
        GC.KeepAlive(resampleFile);
        if (answer < 0)
        {
            throw new SystemCallException(
                $"KVM_IRQFD for interrupt {interrupt}", Errno.Last,
                "EBADF, EINVAL: the file is no eventfd, or there is no such interrupt. EBUSY: the file has one already."
                    + " EAGAIN, ENODEV: the VM has no interrupt controller in the kernel, or it is not initialised.");
        }
    }

    private unsafe void SetIoEventFile(SafeHandle eventFile, ulong address, int length, ulong value, uint flags)
    {
        ArgumentNullException.ThrowIfNull(eventFile);
        KvmIoEventFile argument = new()
        {
            Data = value,
            Address = address,
            Length = (uint)length,
            FileDescriptor = (int)eventFile.DangerousGetHandle(),
            Flags = flags,
        };
        int answer = LibC.Ioctl(_file, KvmIoctl.KVM_IOEVENTFD, &argument);
        GC.KeepAlive(eventFile);
        if (answer < 0)
        {
            throw new SystemCallException(
                $"KVM_IOEVENTFD for {length} bytes at 0x{address:x}", Errno.Last,
                "EBADF, EINVAL: the file is no eventfd, or the length is not 0, 1, 2, 4 or 8. EEXIST: the address is"
                    + " taken. ENOENT: it was not added.");
        }
    }
}
