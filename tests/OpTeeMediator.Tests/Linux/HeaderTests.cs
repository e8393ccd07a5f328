using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using MinimalVmm.X86;
using OpTeeMediator.Backends;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.LinuxTee;

namespace OpTeeMediator.Tests.Linux;

/// <summary>Constants and layouts are those of the C headers.</summary>
[TestFixture]
public sealed class HeaderTests
{
    [Test]
    public void LibC_Constants_AreThoseOfTheHeaders([Values] bool arm64) =>
        Assert.That(
            (arm64 ? CHeaders.OfArm64() : CHeaders.OfHost())
                .Include("fcntl.h").Include("sys/mman.h").Include("signal.h").Include("linux/falloc.h")
                .Include("linux/memfd.h")
                .Expect("O_RDWR", LibC.O_RDWR)
                .Expect("O_CLOEXEC", LibC.O_CLOEXEC)
                .Expect("SEEK_DATA", LibC.SEEK_DATA)
                .Expect("SEEK_HOLE", LibC.SEEK_HOLE)
                .Expect("PROT_NONE", LibC.PROT_NONE)
                .Expect("PROT_READ", LibC.PROT_READ)
                .Expect("PROT_WRITE", LibC.PROT_WRITE)
                .Expect("MAP_SHARED", LibC.MAP_SHARED)
                .Expect("MAP_PRIVATE", LibC.MAP_PRIVATE)
                .Expect("MAP_FIXED", LibC.MAP_FIXED)
                .Expect("MAP_ANONYMOUS", LibC.MAP_ANONYMOUS)
                .Expect("MAP_NORESERVE", LibC.MAP_NORESERVE)
                .Expect("MFD_CLOEXEC", LibC.MFD_CLOEXEC)
                .Expect("MFD_ALLOW_SEALING", LibC.MFD_ALLOW_SEALING)
                .Expect("MFD_HUGETLB", LibC.MFD_HUGETLB)
                .Expect("MFD_HUGE_2MB", 21u << LibC.MFD_HUGE_SHIFT)
                .Expect("F_ADD_SEALS", LibC.F_ADD_SEALS)
                .Expect("F_SEAL_SEAL", LibC.F_SEAL_SEAL)
                .Expect("F_SEAL_SHRINK", LibC.F_SEAL_SHRINK)
                .Expect("F_SEAL_GROW", LibC.F_SEAL_GROW)
                .Expect("FALLOC_FL_KEEP_SIZE", LibC.FALLOC_FL_KEEP_SIZE)
                .Expect("FALLOC_FL_PUNCH_HOLE", LibC.FALLOC_FL_PUNCH_HOLE)
                .Expect("O_NONBLOCK", LibC.O_NONBLOCK)
                .Expect("MADV_DONTNEED", LibC.MADV_DONTNEED)
                .Expect("MADV_REMOVE", LibC.MADV_REMOVE)
                .Expect("MADV_DONTDUMP", LibC.MADV_DONTDUMP)
                .Expect("SA_RESTART", LibC.SA_RESTART)
                .Compile(),
            Is.Empty);

    [Test]
    public void EventFile_ConstantsAndLayouts_AreThoseOfTheHeaders([Values] bool arm64)
    {
        PollEntry entry = default;

        Assert.That(
            (arm64 ? CHeaders.OfArm64() : CHeaders.OfHost())
                .Include("poll.h").Include("sys/eventfd.h")
                .Expect("EFD_CLOEXEC", LibC.O_CLOEXEC)
                .Expect("EFD_NONBLOCK", LibC.O_NONBLOCK)
                .Expect("POLLIN", (ulong)PollEntry.In)
                .ExpectSize<PollEntry>("struct pollfd")
                .ExpectOffset("struct pollfd", "events", in entry, in entry.Events)
                .ExpectOffset("struct pollfd", "revents", in entry, in entry.ReturnedEvents)
                .Compile(),
            Is.Empty);
    }

    [Test]
    public void SignalAction_Layout_IsThatOfTheHeader([Values] bool arm64)
    {
        SignalAction action = default;

        Assert.That(
            (arm64 ? CHeaders.OfArm64() : CHeaders.OfHost())
                .Include("signal.h")
                .ExpectSize<SignalAction>("struct sigaction")
                .ExpectOffset("struct sigaction", "sa_handler", in action, in action.Handler)
                .ExpectOffset("struct sigaction", "sa_mask", in action, in action.Mask)
                .ExpectOffset("struct sigaction", "sa_flags", in action, in action.Flags)
                .ExpectOffset("struct sigaction", "sa_restorer", in action, in action.Restorer)
                .Compile(),
            Is.Empty);
    }

    [Test]
    public void Errno_Numbers_AreThoseOfTheHeader([Values] bool arm64) =>
        Assert.That(
            (arm64 ? CHeaders.OfArm64() : CHeaders.OfHost())
                .Include("errno.h")
                .Expect(nameof(Errno.EPERM), Errno.EPERM)
                .Expect(nameof(Errno.ENOENT), Errno.ENOENT)
                .Expect(nameof(Errno.EINTR), Errno.EINTR)
                .Expect(nameof(Errno.EIO), Errno.EIO)
                .Expect(nameof(Errno.ENXIO), Errno.ENXIO)
                .Expect(nameof(Errno.E2BIG), Errno.E2BIG)
                .Expect(nameof(Errno.EBADF), Errno.EBADF)
                .Expect(nameof(Errno.EAGAIN), Errno.EAGAIN)
                .Expect(nameof(Errno.ENOMEM), Errno.ENOMEM)
                .Expect(nameof(Errno.EACCES), Errno.EACCES)
                .Expect(nameof(Errno.EFAULT), Errno.EFAULT)
                .Expect(nameof(Errno.EBUSY), Errno.EBUSY)
                .Expect(nameof(Errno.EEXIST), Errno.EEXIST)
                .Expect(nameof(Errno.ENODEV), Errno.ENODEV)
                .Expect(nameof(Errno.EINVAL), Errno.EINVAL)
                .Expect(nameof(Errno.ENFILE), Errno.ENFILE)
                .Expect(nameof(Errno.EMFILE), Errno.EMFILE)
                .Expect(nameof(Errno.ENOTTY), Errno.ENOTTY)
                .Expect(nameof(Errno.ENOSPC), Errno.ENOSPC)
                .Expect(nameof(Errno.ENOSYS), Errno.ENOSYS)
                .Expect(nameof(Errno.EOPNOTSUPP), Errno.EOPNOTSUPP)
                .Expect(nameof(Errno.ECONNRESET), Errno.ECONNRESET)
                .Expect(nameof(Errno.EHWPOISON), Errno.EHWPOISON)
                .Compile(),
            Is.Empty);

    [Test]
    public void Kvm_CommonConstantsAndLayouts_AreThoseOfTheHeader([Values] bool arm64)
    {
        KvmUserspaceMemoryRegion region = default;
        KvmOneRegister register = default;
        KvmIrqLevel level = default;
        KvmCreateDevice device = default;
        KvmDeviceAttribute attribute = default;
        KvmEnableCapability capability = default;
        KvmIrqFile interrupt = default;
        KvmIoEventFile access = default;
        KvmClearDirtyLog clear = default;

        Assert.That(
            (arm64 ? CHeaders.OfArm64() : CHeaders.OfHost())
                .Include("linux/kvm.h")
                .Expect("KVM_API_VERSION", KvmIoctl.ApiVersion)
                .Expect(nameof(KvmIoctl.KVM_GET_API_VERSION), KvmIoctl.KVM_GET_API_VERSION)
                .Expect(nameof(KvmIoctl.KVM_CREATE_VM), KvmIoctl.KVM_CREATE_VM)
                .Expect(nameof(KvmIoctl.KVM_CHECK_EXTENSION), KvmIoctl.KVM_CHECK_EXTENSION)
                .Expect(nameof(KvmIoctl.KVM_GET_VCPU_MMAP_SIZE), KvmIoctl.KVM_GET_VCPU_MMAP_SIZE)
                .Expect(nameof(KvmIoctl.KVM_CREATE_VCPU), KvmIoctl.KVM_CREATE_VCPU)
                .Expect(nameof(KvmIoctl.KVM_SET_USER_MEMORY_REGION), KvmIoctl.KVM_SET_USER_MEMORY_REGION)
                .Expect(nameof(KvmIoctl.KVM_IRQ_LINE), KvmIoctl.KVM_IRQ_LINE)
                .Expect(nameof(KvmIoctl.KVM_RUN), KvmIoctl.KVM_RUN)
                .Expect(nameof(KvmIoctl.KVM_GET_ONE_REG), KvmIoctl.KVM_GET_ONE_REG)
                .Expect(nameof(KvmIoctl.KVM_SET_ONE_REG), KvmIoctl.KVM_SET_ONE_REG)
                .Expect(nameof(KvmIoctl.KVM_CREATE_DEVICE), KvmIoctl.KVM_CREATE_DEVICE)
                .Expect(nameof(KvmIoctl.KVM_SET_DEVICE_ATTR), KvmIoctl.KVM_SET_DEVICE_ATTR)
                .Expect(nameof(KvmIoctl.KVM_GET_DEVICE_ATTR), KvmIoctl.KVM_GET_DEVICE_ATTR)
                .Expect(nameof(KvmIoctl.KVM_HAS_DEVICE_ATTR), KvmIoctl.KVM_HAS_DEVICE_ATTR)
                .Expect(nameof(KvmIoctl.KVM_GET_DIRTY_LOG), KvmIoctl.KVM_GET_DIRTY_LOG)
                .Expect(nameof(KvmIoctl.KVM_CLEAR_DIRTY_LOG), KvmIoctl.KVM_CLEAR_DIRTY_LOG)
                .Expect(nameof(KvmIoctl.KVM_IRQFD), KvmIoctl.KVM_IRQFD)
                .Expect(nameof(KvmIoctl.KVM_IOEVENTFD), KvmIoctl.KVM_IOEVENTFD)
                .Expect(nameof(KvmIoctl.KVM_GET_MP_STATE), KvmIoctl.KVM_GET_MP_STATE)
                .Expect(nameof(KvmIoctl.KVM_SET_MP_STATE), KvmIoctl.KVM_SET_MP_STATE)
                .Expect(nameof(KvmIoctl.KVM_ENABLE_CAP), KvmIoctl.KVM_ENABLE_CAP)
                .Expect(nameof(KvmIoctl.KVM_GET_REG_LIST), KvmIoctl.KVM_GET_REG_LIST)
                .Expect("sizeof(struct kvm_mp_state)", sizeof(uint))
                .Expect("offsetof(struct kvm_reg_list, reg)", sizeof(ulong))
                .ExpectSize<KvmEnableCapability>("struct kvm_enable_cap")
                .ExpectOffset("struct kvm_enable_cap", "flags", in capability, in capability.Flags)
                .ExpectOffset("struct kvm_enable_cap", "args", in capability, in capability.Arguments)
                .Expect("KVM_IRQFD_FLAG_DEASSIGN", KvmIrqFile.Deassign)
                .Expect("KVM_IRQFD_FLAG_RESAMPLE", KvmIrqFile.Resample)
                .ExpectSize<KvmIrqFile>("struct kvm_irqfd")
                .ExpectOffset("struct kvm_irqfd", "gsi", in interrupt, in interrupt.Interrupt)
                .ExpectOffset("struct kvm_irqfd", "flags", in interrupt, in interrupt.Flags)
                .ExpectOffset("struct kvm_irqfd", "resamplefd", in interrupt, in interrupt.ResampleFileDescriptor)
                .Expect("KVM_IOEVENTFD_FLAG_DATAMATCH", KvmIoEventFile.DataMatch)
                .Expect("KVM_IOEVENTFD_FLAG_DEASSIGN", KvmIoEventFile.Deassign)
                .ExpectSize<KvmIoEventFile>("struct kvm_ioeventfd")
                .ExpectOffset("struct kvm_ioeventfd", "addr", in access, in access.Address)
                .ExpectOffset("struct kvm_ioeventfd", "len", in access, in access.Length)
                .ExpectOffset("struct kvm_ioeventfd", "fd", in access, in access.FileDescriptor)
                .ExpectOffset("struct kvm_ioeventfd", "flags", in access, in access.Flags)
                .ExpectSize<KvmDirtyLog>("struct kvm_dirty_log")
                .Expect("offsetof(struct kvm_dirty_log, dirty_bitmap)", 8)
                .ExpectSize<KvmClearDirtyLog>("struct kvm_clear_dirty_log")
                .ExpectOffset("struct kvm_clear_dirty_log", "num_pages", in clear, in clear.PageCount)
                .ExpectOffset("struct kvm_clear_dirty_log", "first_page", in clear, in clear.FirstPage)
                .Expect("offsetof(struct kvm_clear_dirty_log, dirty_bitmap)", 16)
                .Expect("KVM_MEM_READONLY", (ulong)KvmMemoryFlags.ReadOnly)
                .Expect("KVM_MEM_LOG_DIRTY_PAGES", (ulong)KvmMemoryFlags.LogDirtyPages)
                .ExpectSize<KvmUserspaceMemoryRegion>("struct kvm_userspace_memory_region")
                .ExpectOffset("struct kvm_userspace_memory_region", "slot", in region, in region.Slot)
                .ExpectOffset("struct kvm_userspace_memory_region", "flags", in region, in region.Flags)
                .ExpectOffset("struct kvm_userspace_memory_region", "guest_phys_addr", in region,
                    in region.GuestPhysicalAddress)
                .ExpectOffset("struct kvm_userspace_memory_region", "memory_size", in region, in region.MemorySize)
                .ExpectOffset("struct kvm_userspace_memory_region", "userspace_addr", in region,
                    in region.UserspaceAddress)
                .ExpectSize<KvmOneRegister>("struct kvm_one_reg")
                .ExpectOffset("struct kvm_one_reg", "id", in register, in register.Id)
                .ExpectSize<KvmIrqLevel>("struct kvm_irq_level")
                .ExpectOffset("struct kvm_irq_level", "level", in level, in level.Level)
                .ExpectSize<KvmCreateDevice>("struct kvm_create_device")
                .ExpectOffset("struct kvm_create_device", "fd", in device, in device.FileDescriptor)
                .ExpectOffset("struct kvm_create_device", "flags", in device, in device.Flags)
                .ExpectSize<KvmDeviceAttribute>("struct kvm_device_attr")
                .ExpectOffset("struct kvm_device_attr", "group", in attribute, in attribute.Group)
                .ExpectOffset("struct kvm_device_attr", "attr", in attribute, in attribute.Attribute)
                .Expect("offsetof(struct kvm_device_attr, addr)", 16)
                .Expect("offsetof(struct kvm_run, immediate_exit)", KvmRunLayout.ImmediateExit)
                .Expect("offsetof(struct kvm_run, exit_reason)", KvmRunLayout.ExitReason)
                .Expect("offsetof(struct kvm_run, hw.hardware_exit_reason)", KvmRunLayout.UnknownHardwareReason)
                .Expect("offsetof(struct kvm_run, fail_entry.hardware_entry_failure_reason)",
                    KvmRunLayout.FailEntryReason)
                .Expect("offsetof(struct kvm_run, fail_entry.cpu)", KvmRunLayout.FailEntryCpu)
                .Expect("offsetof(struct kvm_run, io.direction)", KvmRunLayout.IoDirection)
                .Expect("offsetof(struct kvm_run, io.size)", KvmRunLayout.IoSize)
                .Expect("offsetof(struct kvm_run, io.port)", KvmRunLayout.IoPort)
                .Expect("offsetof(struct kvm_run, io.count)", KvmRunLayout.IoCount)
                .Expect("offsetof(struct kvm_run, io.data_offset)", KvmRunLayout.IoDataOffset)
                .Expect("offsetof(struct kvm_run, mmio.phys_addr)", KvmRunLayout.MmioAddress)
                .Expect("offsetof(struct kvm_run, mmio.data)", KvmRunLayout.MmioData)
                .Expect("offsetof(struct kvm_run, mmio.len)", KvmRunLayout.MmioLength)
                .Expect("offsetof(struct kvm_run, mmio.is_write)", KvmRunLayout.MmioIsWrite)
                .Expect("offsetof(struct kvm_run, hypercall.nr)", KvmRunLayout.HypercallNumber)
                .Expect("offsetof(struct kvm_run, hypercall.ret) + 8", KvmRunLayout.HypercallFlags)
                .Expect("offsetof(struct kvm_run, internal.suberror)", KvmRunLayout.InternalSuberror)
                .Expect("offsetof(struct kvm_run, internal.ndata)", KvmRunLayout.InternalDataCount)
                .Expect("offsetof(struct kvm_run, internal.data)", KvmRunLayout.InternalData)
                .Expect("sizeof(((struct kvm_run *)0)->internal.data) / 8", KvmRunLayout.MaximumDataCount)
                .Expect("offsetof(struct kvm_run, system_event.type)", KvmRunLayout.SystemEventType)
                .Expect("offsetof(struct kvm_run, system_event.ndata)", KvmRunLayout.SystemEventDataCount)
                .Expect("offsetof(struct kvm_run, system_event.data)", KvmRunLayout.SystemEventData)
                .Expect("offsetof(struct kvm_run, arm_nisv.esr_iss)", KvmRunLayout.NoSyndromeEsr)
                .Expect("offsetof(struct kvm_run, arm_nisv.fault_ipa)", KvmRunLayout.NoSyndromeAddress)
                .Expect("offsetof(struct kvm_run, s)", KvmRunLayout.SharedRegisters)
                .Expect("SYNC_REGS_SIZE_BYTES", KvmRunLayout.SharedRegistersSize)
                .Compile(),
            Is.Empty);
    }

    [Test]
    public void Kvm_Enumerations_AreThoseOfTheHeader([Values] bool arm64) =>
        Assert.That(
            (arm64 ? CHeaders.OfArm64() : CHeaders.OfHost())
                .Include("linux/kvm.h")
                .Expect("KVM_EXIT_UNKNOWN", (ulong)KvmExitReason.Unknown)
                .Expect("KVM_EXIT_EXCEPTION", (ulong)KvmExitReason.Exception)
                .Expect("KVM_EXIT_IO", (ulong)KvmExitReason.Io)
                .Expect("KVM_EXIT_HYPERCALL", (ulong)KvmExitReason.Hypercall)
                .Expect("KVM_EXIT_DEBUG", (ulong)KvmExitReason.Debug)
                .Expect("KVM_EXIT_HLT", (ulong)KvmExitReason.Halt)
                .Expect("KVM_EXIT_MMIO", (ulong)KvmExitReason.Mmio)
                .Expect("KVM_EXIT_IRQ_WINDOW_OPEN", (ulong)KvmExitReason.InterruptWindowOpen)
                .Expect("KVM_EXIT_SHUTDOWN", (ulong)KvmExitReason.Shutdown)
                .Expect("KVM_EXIT_FAIL_ENTRY", (ulong)KvmExitReason.FailEntry)
                .Expect("KVM_EXIT_INTR", (ulong)KvmExitReason.Interrupted)
                .Expect("KVM_EXIT_INTERNAL_ERROR", (ulong)KvmExitReason.InternalError)
                .Expect("KVM_EXIT_SYSTEM_EVENT", (ulong)KvmExitReason.SystemEvent)
                .Expect("KVM_EXIT_ARM_NISV", (ulong)KvmExitReason.ArmNoSyndrome)
                .ExpectIfDefined("KVM_EXIT_MEMORY_FAULT", "KVM_EXIT_MEMORY_FAULT", (ulong)KvmExitReason.MemoryFault)
                .Expect("KVM_CAP_IRQCHIP", (ulong)KvmCapability.InKernelInterruptController)
                .Expect("KVM_CAP_USER_MEMORY", (ulong)KvmCapability.UserMemory)
                .Expect("KVM_CAP_NR_VCPUS", (ulong)KvmCapability.RecommendedVcpus)
                .Expect("KVM_CAP_NR_MEMSLOTS", (ulong)KvmCapability.MemorySlots)
                .Expect("KVM_CAP_MAX_VCPUS", (ulong)KvmCapability.MaximumVcpus)
                .Expect("KVM_CAP_ONE_REG", (ulong)KvmCapability.OneRegister)
                .Expect("KVM_CAP_SYNC_REGS", (ulong)KvmCapability.SharedRegisters)
                .Expect("KVM_CAP_READONLY_MEM", (ulong)KvmCapability.ReadOnlyMemory)
                .Expect("KVM_CAP_DEVICE_CTRL", (ulong)KvmCapability.DeviceControl)
                .Expect("KVM_CAP_ARM_PSCI_0_2", (ulong)KvmCapability.ArmPsci)
                .Expect("KVM_CAP_IMMEDIATE_EXIT", (ulong)KvmCapability.ImmediateExit)
                .Expect("KVM_CAP_ARM_VM_IPA_SIZE", (ulong)KvmCapability.ArmGuestAddressBits)
                .Expect("KVM_CAP_MP_STATE", (ulong)KvmCapability.MpState)
                .Expect("KVM_CAP_IRQFD", (ulong)KvmCapability.InterruptFile)
                .Expect("KVM_CAP_IOEVENTFD", (ulong)KvmCapability.IoEventFile)
                .Expect("KVM_CAP_ENABLE_CAP", (ulong)KvmCapability.EnableCapability)
                .Expect("KVM_CAP_ENABLE_CAP_VM", (ulong)KvmCapability.EnableVmCapability)
                .Expect("KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2", (ulong)KvmCapability.ManualDirtyLog)
                .Expect("KVM_CAP_ARM_SVE", (ulong)KvmCapability.ArmSve)
                .Expect("KVM_CAP_ARM_NISV_TO_USER", (ulong)KvmCapability.ArmNoSyndromeToUser)
                .Expect("KVM_CAP_ARM_SYSTEM_SUSPEND", (ulong)KvmCapability.ArmSystemSuspend)
                .Expect("KVM_MP_STATE_RUNNABLE", (ulong)KvmMpState.Runnable)
                .Expect("KVM_MP_STATE_UNINITIALIZED", (ulong)KvmMpState.Uninitialized)
                .Expect("KVM_MP_STATE_HALTED", (ulong)KvmMpState.Halted)
                .Expect("KVM_MP_STATE_STOPPED", (ulong)KvmMpState.Stopped)
                .Expect("KVM_MP_STATE_SUSPENDED", (ulong)KvmMpState.Suspended)
                .Expect("KVM_DEV_TYPE_VFIO", (ulong)KvmDeviceType.Vfio)
                .Expect("KVM_DEV_TYPE_ARM_VGIC_V2", (ulong)KvmDeviceType.ArmGicV2)
                .Expect("KVM_DEV_TYPE_ARM_VGIC_V3", (ulong)KvmDeviceType.ArmGicV3)
                .Expect("KVM_DEV_TYPE_ARM_VGIC_ITS", (ulong)KvmDeviceType.ArmGicIts)
                .Expect("KVM_SYSTEM_EVENT_SHUTDOWN", (ulong)KvmSystemEventType.Shutdown)
                .Expect("KVM_SYSTEM_EVENT_RESET", (ulong)KvmSystemEventType.Reset)
                .Expect("KVM_SYSTEM_EVENT_CRASH", (ulong)KvmSystemEventType.Crash)
                .Expect("KVM_SYSTEM_EVENT_WAKEUP", (ulong)KvmSystemEventType.WakeUp)
                .Expect("KVM_SYSTEM_EVENT_SUSPEND", (ulong)KvmSystemEventType.Suspend)
                .Compile(),
            Is.Empty);

    [Test]
    public void KvmX86_ConstantsAndLayouts_AreThoseOfTheHeader()
    {
        KvmHost.RequireX86();
        X86Registers registers = default;
        X86Segment segment = default;
        X86SpecialRegisters special = default;

        Assert.That(
            CHeaders.OfHost()
                .Include("linux/kvm.h")
                .Expect(nameof(X86Ioctl.KVM_GET_REGS), X86Ioctl.KVM_GET_REGS)
                .Expect(nameof(X86Ioctl.KVM_SET_REGS), X86Ioctl.KVM_SET_REGS)
                .Expect(nameof(X86Ioctl.KVM_GET_SREGS), X86Ioctl.KVM_GET_SREGS)
                .Expect(nameof(X86Ioctl.KVM_SET_SREGS), X86Ioctl.KVM_SET_SREGS)
                .ExpectSize<X86Registers>("struct kvm_regs")
                .ExpectOffset("struct kvm_regs", "rdx", in registers, in registers.Rdx)
                .ExpectOffset("struct kvm_regs", "rsp", in registers, in registers.Rsp)
                .ExpectOffset("struct kvm_regs", "rbp", in registers, in registers.Rbp)
                .ExpectOffset("struct kvm_regs", "r8", in registers, in registers.R8)
                .ExpectOffset("struct kvm_regs", "r15", in registers, in registers.R15)
                .ExpectOffset("struct kvm_regs", "rip", in registers, in registers.Rip)
                .ExpectOffset("struct kvm_regs", "rflags", in registers, in registers.Rflags)
                .ExpectSize<X86Segment>("struct kvm_segment")
                .ExpectOffset("struct kvm_segment", "limit", in segment, in segment.Limit)
                .ExpectOffset("struct kvm_segment", "selector", in segment, in segment.Selector)
                .ExpectOffset("struct kvm_segment", "type", in segment, in segment.Type)
                .ExpectOffset("struct kvm_segment", "present", in segment, in segment.IsPresent)
                .ExpectOffset("struct kvm_segment", "dpl", in segment, in segment.PrivilegeLevel)
                .ExpectOffset("struct kvm_segment", "db", in segment, in segment.IsDefault32)
                .ExpectOffset("struct kvm_segment", "s", in segment, in segment.IsCodeOrData)
                .ExpectOffset("struct kvm_segment", "l", in segment, in segment.IsLong)
                .ExpectOffset("struct kvm_segment", "g", in segment, in segment.IsGranular)
                .ExpectOffset("struct kvm_segment", "avl", in segment, in segment.Available)
                .ExpectOffset("struct kvm_segment", "unusable", in segment, in segment.IsUnusable)
                .ExpectSize<X86DescriptorTable>("struct kvm_dtable")
                .ExpectSize<X86SpecialRegisters>("struct kvm_sregs")
                .ExpectOffset("struct kvm_sregs", "ss", in special, in special.Ss)
                .ExpectOffset("struct kvm_sregs", "ldt", in special, in special.Ldt)
                .ExpectOffset("struct kvm_sregs", "gdt", in special, in special.Gdt)
                .ExpectOffset("struct kvm_sregs", "idt", in special, in special.Idt)
                .ExpectOffset("struct kvm_sregs", "cr0", in special, in special.Cr0)
                .ExpectOffset("struct kvm_sregs", "cr8", in special, in special.Cr8)
                .ExpectOffset("struct kvm_sregs", "efer", in special, in special.Efer)
                .ExpectOffset("struct kvm_sregs", "apic_base", in special, in special.ApicBase)
                .Compile(),
            Is.Empty);
    }

    [Test]
    public void KvmArm64_ConstantsAndLayouts_AreThoseOfTheHeader()
    {
        Arm64VcpuEvents events = default;
        Assert.That(
            CHeaders.OfArm64()
                .Include("linux/kvm.h")
                .Expect(nameof(Arm64Ioctl.KVM_GET_VCPU_EVENTS), Arm64Ioctl.KVM_GET_VCPU_EVENTS)
                .Expect(nameof(Arm64Ioctl.KVM_SET_VCPU_EVENTS), Arm64Ioctl.KVM_SET_VCPU_EVENTS)
                .Expect(nameof(Arm64Ioctl.KVM_ARM_VCPU_INIT), Arm64Ioctl.KVM_ARM_VCPU_INIT)
                .ExpectSize<Arm64VcpuEvents>("struct kvm_vcpu_events")
                .ExpectOffset(
                    "struct kvm_vcpu_events", "exception.serror_has_esr", in events, in events.SystemErrorHasSyndrome)
                .ExpectOffset(
                    "struct kvm_vcpu_events", "exception.serror_esr", in events, in events.SystemErrorSyndrome)
                .Expect(nameof(Arm64Ioctl.KVM_ARM_PREFERRED_TARGET), Arm64Ioctl.KVM_ARM_PREFERRED_TARGET)
                .Expect(nameof(Arm64Ioctl.KVM_ARM_VCPU_FINALIZE), Arm64Ioctl.KVM_ARM_VCPU_FINALIZE)
                .ExpectSize<Arm64VcpuInit>("struct kvm_vcpu_init")
                .Expect("1 << KVM_ARM_VCPU_POWER_OFF", (ulong)Arm64VcpuFeatures.PowerOff)
                .Expect("1 << KVM_ARM_VCPU_EL1_32BIT", (ulong)Arm64VcpuFeatures.El1Is32Bit)
                .Expect("1 << KVM_ARM_VCPU_PSCI_0_2", (ulong)Arm64VcpuFeatures.Psci)
                .Expect("1 << KVM_ARM_VCPU_PMU_V3", (ulong)Arm64VcpuFeatures.PerformanceMonitor)
                .Expect("1 << KVM_ARM_VCPU_SVE", (ulong)Arm64VcpuFeatures.Sve)
                .Expect("1 << KVM_ARM_VCPU_PTRAUTH_ADDRESS", (ulong)Arm64VcpuFeatures.AddressPointers)
                .Expect("1 << KVM_ARM_VCPU_PTRAUTH_GENERIC", (ulong)Arm64VcpuFeatures.GenericPointers)
                .Expect(
                    "KVM_REG_ARM64 | KVM_REG_SIZE_U128 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(fp_regs.vregs[0])",
                    Arm64Register.V(0).Id)
                .Expect(
                    "KVM_REG_ARM64 | KVM_REG_SIZE_U128 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(fp_regs.vregs[31])",
                    Arm64Register.V(31).Id)
                .Expect("KVM_REG_ARM64 | KVM_REG_SIZE_U32 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(fp_regs.fpsr)",
                    Arm64Register.Fpsr.Id)
                .Expect("KVM_REG_ARM64 | KVM_REG_SIZE_U32 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(fp_regs.fpcr)",
                    Arm64Register.Fpcr.Id)
                .Expect("KVM_REG_ARM_PSCI_VERSION", Arm64Register.PsciVersion.Id)
                .Expect("KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.regs[0])",
                    Arm64Register.X(0).Id)
                .Expect("KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.regs[30])",
                    Arm64Register.X(30).Id)
                .Expect("KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.sp)",
                    Arm64Register.Sp.Id)
                .Expect("KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.pc)",
                    Arm64Register.Pc.Id)
                .Expect("KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.pstate)",
                    Arm64Register.Pstate.Id)
                .Expect("KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(sp_el1)",
                    Arm64Register.SpEl1.Id)
                .Expect("KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(elr_el1)",
                    Arm64Register.ElrEl1.Id)
                .Expect(
                    "KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(spsr[KVM_SPSR_EL1])",
                    Arm64Register.SpsrEl1.Id)
                .ExpectIfDefined("KVM_REG_ARM_PTIMER_CTL", "KVM_REG_ARM_PTIMER_CTL",
                    Arm64Register.PhysicalTimerControl.Id)
                .ExpectIfDefined("KVM_REG_ARM_PTIMER_CVAL", "KVM_REG_ARM_PTIMER_CVAL",
                    Arm64Register.PhysicalTimerCompare.Id)
                .ExpectIfDefined("KVM_REG_ARM_PTIMER_CNT", "KVM_REG_ARM_PTIMER_CNT", Arm64Register.PhysicalCounter.Id)
                .Expect("ARM64_SYS_REG(3, 0, 12, 12, 7)", Arm64Register.OfSystem(3, 0, 12, 12, 7).Id)
                .Expect("KVM_ARM_VCPU_TIMER_CTRL", 1)
                .Expect("KVM_ARM_VCPU_TIMER_IRQ_PTIMER", 1)
                .Expect("(KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT) | 40", Arm64Interrupt.Spi(40))
                .Expect("(KVM_ARM_IRQ_TYPE_PPI << KVM_ARM_IRQ_TYPE_SHIFT) | (1 << KVM_ARM_IRQ_VCPU2_SHIFT) | "
                    + "(2 << KVM_ARM_IRQ_VCPU_SHIFT) | 20", Arm64Interrupt.Ppi(0x102, 20))
                .Expect("KVM_DEV_ARM_VGIC_GRP_ADDR", Arm64Gic.GroupAddress)
                .Expect("KVM_DEV_ARM_VGIC_GRP_DIST_REGS", Arm64Gic.GroupDistributor)
                .Expect("KVM_DEV_ARM_VGIC_GRP_NR_IRQS", Arm64Gic.GroupInterruptCount)
                .Expect("KVM_DEV_ARM_VGIC_GRP_CTRL", Arm64Gic.GroupControl)
                .Expect("KVM_DEV_ARM_VGIC_GRP_REDIST_REGS", Arm64Gic.GroupRedistributor)
                .Expect("KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS", Arm64Gic.GroupCpuRegisters)
                .Expect("KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO", Arm64Gic.GroupLevelInfo)
                .Expect("VGIC_LEVEL_INFO_LINE_LEVEL", 0)
                .Expect("KVM_VGIC_V3_ADDR_TYPE_DIST", Arm64Gic.AddressDistributor)
                .Expect("KVM_VGIC_V3_ADDR_TYPE_REDIST", Arm64Gic.AddressRedistributor)
                .Expect("KVM_DEV_ARM_VGIC_CTRL_INIT", Arm64Gic.ControlInitialize)
                .Expect("KVM_DEV_ARM_VGIC_V3_MPIDR_SHIFT", Arm64Gic.AffinityShift)

                // The SMCCC filter is of Linux 6.4; older headers do not have it.
                .ExpectIfDefined("KVM_ARM_VM_SMCCC_CTRL", "KVM_ARM_VM_SMCCC_CTRL", SmcccFilter.KVM_ARM_VM_SMCCC_CTRL)
                .ExpectIfDefined("KVM_ARM_VM_SMCCC_CTRL", "KVM_ARM_VM_SMCCC_FILTER",
                    SmcccFilter.KVM_ARM_VM_SMCCC_FILTER)
                .ExpectIfDefined("KVM_ARM_VM_SMCCC_CTRL", "KVM_SMCCC_FILTER_FWD_TO_USER",
                    (ulong)Arm64SmcccAction.ForwardToUser)
                .ExpectIfDefined("KVM_ARM_VM_SMCCC_CTRL", "KVM_HYPERCALL_EXIT_SMC", 1)
                .ExpectIfDefined("KVM_ARM_VM_SMCCC_CTRL", "offsetof(struct kvm_run, hypercall.flags)",
                    KvmRunLayout.HypercallFlags)
                .ExpectIfDefined("KVM_ARM_VM_SMCCC_CTRL", "sizeof(struct kvm_smccc_filter)",
                    (ulong)Unsafe.SizeOf<KvmSmcccFilter>())
                .ExpectIfDefined("KVM_ARM_VM_SMCCC_CTRL", "offsetof(struct kvm_smccc_filter, nr_functions)", 4)
                .ExpectIfDefined("KVM_ARM_VM_SMCCC_CTRL", "offsetof(struct kvm_smccc_filter, action)", 8)
                .Compile(),
            Is.Empty);
    }

    [Test]
    public void Tee_ConstantsAndLayouts_AreThoseOfTheHeader([Values] bool arm64)
    {
        TeeVersionData version = default;
        TeeIoctlParameter parameter = default;
        TeeOpenSessionArgument open = default;
        TeeInvokeArgument invoke = default;
        TeeCancelArgument cancel = default;
        TeeRegisterData register = default;

        Assert.That(
            (arm64 ? CHeaders.OfArm64() : CHeaders.OfHost())
                .Include("linux/tee.h")
                .Expect("TEE_GEN_CAP_GP", TeeIoctl.GeneralGlobalPlatform)
                .Expect("TEE_GEN_CAP_PRIVILEGED", TeeIoctl.GeneralPrivileged)
                .Expect("TEE_GEN_CAP_REG_MEM", TeeIoctl.GeneralRegisterMemory)
                .Expect("TEE_GEN_CAP_MEMREF_NULL", TeeIoctl.GeneralNullReference)
                .Expect("TEE_MEMREF_NULL", TeeIoctl.NullReference)
                .Expect("TEE_IMPL_ID_OPTEE", TeeIoctl.ImplementationOpTee)
                .Expect("TEE_IOCTL_UUID_LEN", TeeUuid.Size)
                .Expect(nameof(TeeIoctl.TEE_IOC_VERSION), TeeIoctl.TEE_IOC_VERSION)
                .Expect(nameof(TeeIoctl.TEE_IOC_OPEN_SESSION), TeeIoctl.TEE_IOC_OPEN_SESSION)
                .Expect(nameof(TeeIoctl.TEE_IOC_INVOKE), TeeIoctl.TEE_IOC_INVOKE)
                .Expect(nameof(TeeIoctl.TEE_IOC_CANCEL), TeeIoctl.TEE_IOC_CANCEL)
                .Expect(nameof(TeeIoctl.TEE_IOC_CLOSE_SESSION), TeeIoctl.TEE_IOC_CLOSE_SESSION)
                .Expect(nameof(TeeIoctl.TEE_IOC_SHM_REGISTER), TeeIoctl.TEE_IOC_SHM_REGISTER)
                .Expect("TEE_IOCTL_LOGIN_REE_KERNEL", (ulong)TeeLogin.Kernel)
                .Expect("TEE_IOCTL_LOGIN_REE_KERNEL_MIN", LinuxTeePartition.FirstKernelLogin)
                .Expect("TEE_IOCTL_LOGIN_REE_KERNEL_MAX", LinuxTeePartition.LastKernelLogin)
                .ExpectSize<TeeVersionData>("struct tee_ioctl_version_data")
                .ExpectOffset("struct tee_ioctl_version_data", "impl_id", in version, in version.ImplementationId)
                .ExpectOffset("struct tee_ioctl_version_data", "impl_caps", in version,
                    in version.ImplementationCapabilities)
                .ExpectOffset("struct tee_ioctl_version_data", "gen_caps", in version, in version.GeneralCapabilities)
                .ExpectSize<TeeBufferData>("struct tee_ioctl_buf_data")
                .ExpectSize<TeeIoctlParameter>("struct tee_ioctl_param")
                .ExpectOffset("struct tee_ioctl_param", "attr", in parameter, in parameter.Attributes)
                .ExpectOffset("struct tee_ioctl_param", "a", in parameter, in parameter.A)
                .ExpectOffset("struct tee_ioctl_param", "b", in parameter, in parameter.B)
                .ExpectOffset("struct tee_ioctl_param", "c", in parameter, in parameter.C)
                .ExpectSize<TeeOpenSessionArgument>(
                    "struct tee_ioctl_open_session_arg) + 4 * sizeof(struct tee_ioctl_param")
                .ExpectOffset("struct tee_ioctl_open_session_arg", "uuid", in open, in open.Application)
                .ExpectOffset("struct tee_ioctl_open_session_arg", "clnt_uuid", in open, in open.Client)
                .ExpectOffset("struct tee_ioctl_open_session_arg", "clnt_login", in open, in open.ClientLogin)
                .ExpectOffset("struct tee_ioctl_open_session_arg", "cancel_id", in open, in open.CancelId)
                .ExpectOffset("struct tee_ioctl_open_session_arg", "session", in open, in open.Session)
                .ExpectOffset("struct tee_ioctl_open_session_arg", "ret", in open, in open.ReturnCode)
                .ExpectOffset("struct tee_ioctl_open_session_arg", "ret_origin", in open, in open.ReturnOrigin)
                .ExpectOffset("struct tee_ioctl_open_session_arg", "num_params", in open, in open.ParameterCount)
                .ExpectOffset("struct tee_ioctl_open_session_arg", "params", in open, in open.Parameters)
                .ExpectSize<TeeInvokeArgument>("struct tee_ioctl_invoke_arg) + 4 * sizeof(struct tee_ioctl_param")
                .ExpectOffset("struct tee_ioctl_invoke_arg", "func", in invoke, in invoke.Function)
                .ExpectOffset("struct tee_ioctl_invoke_arg", "session", in invoke, in invoke.Session)
                .ExpectOffset("struct tee_ioctl_invoke_arg", "cancel_id", in invoke, in invoke.CancelId)
                .ExpectOffset("struct tee_ioctl_invoke_arg", "ret", in invoke, in invoke.ReturnCode)
                .ExpectOffset("struct tee_ioctl_invoke_arg", "ret_origin", in invoke, in invoke.ReturnOrigin)
                .ExpectOffset("struct tee_ioctl_invoke_arg", "num_params", in invoke, in invoke.ParameterCount)
                .ExpectOffset("struct tee_ioctl_invoke_arg", "params", in invoke, in invoke.Parameters)
                .ExpectSize<TeeCancelArgument>("struct tee_ioctl_cancel_arg")
                .ExpectOffset("struct tee_ioctl_cancel_arg", "cancel_id", in cancel, in cancel.CancelId)
                .ExpectOffset("struct tee_ioctl_cancel_arg", "session", in cancel, in cancel.Session)
                .Expect("sizeof(struct tee_ioctl_close_session_arg)", sizeof(uint))
                .ExpectSize<TeeRegisterData>("struct tee_ioctl_shm_register_data")
                .ExpectOffset("struct tee_ioctl_shm_register_data", "addr", in register, in register.Address)
                .ExpectOffset("struct tee_ioctl_shm_register_data", "length", in register, in register.Length)
                .ExpectOffset("struct tee_ioctl_shm_register_data", "flags", in register, in register.Flags)
                .ExpectOffset("struct tee_ioctl_shm_register_data", "id", in register, in register.Id)
                .Compile(),
            Is.Empty);
    }

    // For machines whose headers are older than Linux 6.4:
    // Documentation/virt/kvm/devices/vm.rst and asm/kvm.h of arm64.
    [Test]
    public void SmcccFilter_Constants_AreTheDocumentedOnes()
    {
        const byte Forward = (byte)Arm64SmcccAction.ForwardToUser;
        KvmSmcccFilter filter = new() { Base = 0x3200_0000, FunctionCount = 0x0d01_0000, Action = Forward };
        byte[] bytes = MemoryMarshal.AsBytes(new ReadOnlySpan<KvmSmcccFilter>(in filter)).ToArray();

        using (Assert.EnterMultipleScope())
        {
            Assert.That(SmcccFilter.KVM_ARM_VM_SMCCC_CTRL, Is.Zero);
            Assert.That(SmcccFilter.KVM_ARM_VM_SMCCC_FILTER, Is.Zero);
            Assert.That(bytes,
                Is.EqualTo((byte[])[0, 0, 0, 0x32, 0, 0, 1, 0x0d, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        }
    }

    [Test]
    public void CHeaders_WrongValue_IsReported() =>
        Assert.That(CHeaders.OfHost().Include("errno.h").Expect("EPERM", 2).Compile(),
            Does.Contain("EPERM is 2 in C#"));
}
