using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Kvm.DeviceTree;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Smccc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Linux.Companion;

/// <summary>The VM of KVM in which an OP-TEE lives.</summary>
/// <remarks>
/// <code>
/// the guest's RAM, at the guest's addresses      a guest's address is valid here as it is
/// the platform's secure memory                   the image, and all that OP-TEE has
/// the platform's device tree, 2 MiB
/// the platform's UART, one page                  memory, unless what OP-TEE writes is wanted
/// KVM's GIC, out of OP-TEE's sight               injects two interrupts; OP-TEE sees SecureGic
/// </code>
/// Nothing of it but the guest's own RAM is mapped into the guest.
/// </remarks>
internal sealed class CompanionVm : ICompanionVm
{
    /// <summary>The private interrupt of the monitor, from a core's virtual timer: OP-TEE takes it for one of the
    /// normal world, and gives the core back.</summary>
    internal const int MonitorInterrupt = 20;

    /// <summary>The private interrupt of OP-TEE's own timer, that of the secure physical one.</summary>
    internal const int TimerInterrupt = 29;

    private const int SeedSize = 8;
    private const ulong DeviceTreeSize = 2 << 20;
    private const int SharedInterrupts = 64;

    // GICD_CTLR: EnableGrp1, ARE. GICR_IGROUPR0 and GICR_ISENABLER0 in the SGI frame.
    private const int DistributorControl = 0x0000;
    private const uint DistributorOn = 0x12;
    private const int RedistributorGroup = 0x1_0080;
    private const int RedistributorEnable = 0x1_0100;
    private const uint SoftwareInterrupts = 0xffff;

    // The lowest priority that OP-TEE gives an interrupt lies above this mask.
    private const ulong PriorityMask = 0xf8;

    // mrs x1, cntfrq_el0; smc #0
    private const ulong ReadFrequency = 0xd400_0003_d53b_e001;

    private readonly MemfdGuestMemory _memory;
    private readonly IDisposable _guestMemory;
    private readonly TrackedGuestMemory? _tracked;
    private readonly KvmVm _vm;
    private readonly SecureDevices _devices;
    private readonly List<KvmVcpu> _vcpus = [];
    private readonly OpTeePlatform _platform;
    private readonly OpTeeCompanionOptions _options;
    private readonly GuestRange[] _guestRanges;
    private readonly SecureGic _secureGic;
    private readonly ILogger _log;
    private Arm64Gic? _gic;

    private CompanionVm(
        KvmVm vm, MemfdGuestMemory memory, IDisposable guestMemory, TrackedGuestMemory? tracked,
        GuestRange[] guestRanges, OpTeeCompanionOptions options, ILogger log)
    {
        _vm = vm;
        _memory = memory;
        Memory = new TrackedGuestMemory(memory);
        _guestMemory = guestMemory;
        _tracked = tracked;
        _guestRanges = guestRanges;
        _secureGic = new SecureGic(options.CoreCount, _ => Line?.Pulse());
        _options = options;
        _platform = options.Platform;
        _log = log;
        TeeConsole? console = options.LogsConsole ? new TeeConsole(options.Name, log) : null;
        _devices = new SecureDevices(_platform, _secureGic, options.CoreCount, console, options.Name, log);
    }

    public ImmutableArray<ICompanionCpu> Cpus { get; private set; } = [];

    public IInterruptLine? Line { get; set; }

    public TrackedGuestMemory Memory { get; }

    // The last page of the device tree's memory, which OP-TEE leaves alone, as the tree in it is small.
    public ulong FrequencyCode => _platform.DeviceTree.Value + DeviceTreeSize - (ulong)Environment.SystemPageSize;

    /// <summary>Makes the VM.</summary>
    /// <param name="kvm">The host's KVM.</param>
    /// <param name="guestMemory">The guest's RAM.</param>
    /// <param name="tracked">Is told what OP-TEE writes to it.</param>
    /// <param name="options">Say what the machine is like.</param>
    /// <param name="copied">OP-TEE's memory, which the VM owns, whatever happens; <see langword="null"/> for empty
    /// memory.</param>
    /// <param name="log">Where to log.</param>
    /// <exception cref="SystemCallException">KVM refuses; the message says what.</exception>
    /// <exception cref="NotSupportedException">This kernel has no SMCCC filter, or guest RAM lies beyond the host's
    /// guest addresses.</exception>
    /// <exception cref="ArgumentException">Guest and OP-TEE want the same addresses.</exception>
    internal static CompanionVm Create(
        KvmSystem kvm, MappedGuestMemory guestMemory, TrackedGuestMemory? tracked, OpTeeCompanionOptions options,
        MemfdGuestMemory? copied, ILogger log)
    {
        MemfdGuestMemory? memory = copied;
        IDisposable? hold = null;
        CompanionVm? companion = null;
        try
        {
            // Without a signal to kick with, an OP-TEE that has failed would keep its vCPUs: better to know now.
            _ = KickSignal.Number;
            hold = guestMemory.Hold(out ImmutableArray<MappedMemoryRegion> guestRegions);

            // The regions of now: they may be others than those of an earlier OP-TEE's start.
            GuestRange[] guestRanges = [.. guestRegions.Select(region => region.Range)];
            CheckLayout(guestRanges, options);
            memory ??= CreateMemory(options);
            GuestRange roomForGic = FindRoom(guestRanges, options);
            KvmVm vm = kvm.CreateVmFor(
                HighestAddress([.. guestRanges, .. Layout(options).Select(part => part.Range), roomForGic]));
            companion = new CompanionVm(vm, memory, hold, tracked, guestRanges, options, log);
            int free = 0;
            foreach (MappedMemoryRegion region in guestRegions)
            {
                vm.SetMemoryRegion(
                    free++, region.Range.Start.Value, region.Range.Length, region.HostAddress, KvmMemoryFlags.None);
            }

            tracked?.AddVm(vm);
            _ = vm.MapMemory(memory, free);
            companion.Memory.AddVm(vm, free);
            log.CompanionMapped(options.Name, guestRanges.Length);
            companion.MakeCores(options.CoreCount, roomForGic.Start);
            return companion;
        }
        catch
        {
            if (companion is not null)
            {
                companion.Dispose();
            }
            else
            {
                memory?.Dispose();
                hold?.Dispose();
            }

            throw;
        }
    }

    /// <summary>Makes the memory of an OP-TEE, all zero.</summary>
    /// <exception cref="SystemCallException">The host has none.</exception>
    internal static MemfdGuestMemory CreateMemory(OpTeeCompanionOptions options) =>
        MemfdGuestMemory.Create(new MemfdGuestMemoryOptions { Name = "optee" }, MemoryRanges(options));

    /// <summary>Where an OP-TEE has memory, in ascending order.</summary>
    internal static GuestRange[] MemoryRanges(OpTeeCompanionOptions options)
    {
        OpTeePlatform platform = options.Platform;
        List<GuestRange> ranges = [platform.SecureMemory, new GuestRange(platform.DeviceTree, DeviceTreeSize)];
        if (!options.LogsConsole)
        {
            ranges.Add(new GuestRange(platform.Uart, (ulong)Environment.SystemPageSize));
        }

        return [.. ranges.OrderBy(range => range.Start.Value)];
    }

    /// <summary>Checks that guest and OP-TEE, and the parts of its machine, want different addresses.</summary>
    internal static void CheckLayout(ReadOnlySpan<GuestRange> guestMemory, OpTeeCompanionOptions options)
    {
        (string What, GuestRange Range)[] layout = Layout(options);
        for (int index = 0; index < layout.Length; index++)
        {
            foreach ((string what, GuestRange range) in layout.AsSpan(0, index))
            {
                if (layout[index].Range.Overlaps(range))
                {
                    throw new ArgumentException(
                        $"OP-TEE's {layout[index].What} {layout[index].Range} overlaps its {what} {range}; name the"
                            + $" platform that the image was built for.");
                }
            }
        }

        foreach (GuestRange region in guestMemory)
        {
            foreach ((string what, GuestRange range) in layout)
            {
                if (region.Overlaps(range))
                {
                    throw new ArgumentException(
                        $"Guest RAM {region} overlaps OP-TEE's {what} {range}; the machine's RAM or the image's"
                            + $" platform must lie elsewhere.");
                }
            }
        }
    }

    /// <summary>Finds unused addresses for KVM's GIC: the distributor first, then the redistributors.</summary>
    internal static GuestRange FindRoom(ReadOnlySpan<GuestRange> guestMemory, OpTeeCompanionOptions options)
    {
        const ulong First = 0x2000_0000;
        const ulong Step = 16 << 20;
        List<GuestRange> taken = [.. guestMemory, .. Layout(options).Select(part => part.Range)];
        GuestRange room = new(First, Step);
        while (taken.Exists(range => range.Overlaps(room)))
        {
            room = new GuestRange(room.End, Step);
        }

        return room;
    }

    private static ulong HighestAddress(IEnumerable<GuestRange> ranges) =>
        ranges.Max(range => range.Start.Value + (range.Length - 1));

    public void Access(int core, KvmMmioExit access) => _devices.Access(core, access);

    public byte[] ReadDeviceTree()
    {
        // Only the bytes in use: reading all of it would allocate 2 MiB.
        Span<byte> header = stackalloc byte[DeviceTreeFormat.HeaderSize];
        _ = _memory.TryRead(_platform.DeviceTree, header);
        byte[] tree = new byte[ulong.Min(DeviceTreeFormat.UsedSize(header), DeviceTreeSize)];
        _ = _memory.TryRead(_platform.DeviceTree, tree);
        return tree;
    }

    public void SaveCores(Stream target)
    {
        Arm64VmState.Save(target, _gic!, Arm64Counters.Read(_vcpus[0]), [.. _vcpus]);
        using BinaryWriter writer = new(target, Encoding.UTF8, leaveOpen: true);
        _secureGic.Save(writer);
    }

    public void RestoreCores(Stream source)
    {
        _ = Arm64VmState.Restore(source, _gic!, [.. _vcpus]);
        using BinaryReader reader = new(source, Encoding.UTF8, leaveOpen: true);
        _secureGic.Restore(reader);
    }

    public void Dispose()
    {
        foreach (KvmVcpu vcpu in _vcpus)
        {
            vcpu.Dispose();
        }

        _gic?.Dispose();
        _tracked?.RemoveVm(_vm);
        Memory.RemoveVm(_vm);
        _vm.Dispose();
        _memory.Dispose();
        _guestMemory.Dispose();
    }

    private static (string What, GuestRange Range)[] Layout(OpTeeCompanionOptions options) =>
    [
        ("secure memory", options.Platform.SecureMemory),
        ("device tree", new GuestRange(options.Platform.DeviceTree, DeviceTreeSize)),
        ("GIC distributor", new GuestRange(options.Platform.GicDistributor, SecureGic.DistributorSize)),
        ("GIC redistributors", new GuestRange(
            options.Platform.GicRedistributors, (ulong)options.CoreCount * SecureGic.RedistributorSize)),
        ("UART", new GuestRange(options.Platform.Uart, (ulong)Environment.SystemPageSize)),
    ];

    public void LoadImage()
    {
        OpTeeCompanionOptions options = _options;
        GuestAddress address = options.Image.Address ?? _platform.SecureMemory.Start;
        _ = _memory.TryGetWindow(address, options.Image.Length, out Span<byte> window);
        options.Image.Content.CopyTo(window);
        int replaced = SecureTimerPatch.Apply(window);
        _log.SecureTimerReplaced(options.Name, replaced);
        _ = _memory.TryWrite(
            _platform.DeviceTree,
            MemoryDeviceTree.Write(_guestRanges, options.LogsConsole ? [] : RandomNumberGenerator.GetBytes(SeedSize)));
        Span<byte> instructions = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(instructions, ReadFrequency);
        _ = _memory.TryWrite(FrequencyCode, instructions);
        if (!options.LogsConsole)
        {
            Span<byte> flags = stackalloc byte[sizeof(uint)];
            BinaryPrimitives.WriteUInt32LittleEndian(flags, SecureDevices.UartIsIdle);
            _ = _memory.TryWrite(_platform.Uart.Add(SecureDevices.UartFlags), flags);
        }
    }

    private void MakeCores(int count, GuestAddress gic)
    {
        SmcFunctionRange calls = SmcFunctionRange.OfOwner(isFast: true, OpteedCall.Owner);
        _vm.FilterCalls(calls.First.Value, calls.Count, Arm64SmcccAction.ForwardToUser);
        for (int index = 0; index < count; index++)
        {
            KvmVcpu vcpu = _vm.CreateVcpu(index);
            _vcpus.Add(vcpu);
            vcpu.Initialize(Arm64VcpuFeatures.None);
        }

        _gic = Arm64Gic.Create(_vm, gic.Value, gic.Add(SecureGic.DistributorSize).Value, SharedInterrupts);
        _gic.SetDistributorRegister(DistributorControl, DistributorOn);
        foreach (KvmVcpu vcpu in _vcpus)
        {
            Prepare(vcpu, _gic);
        }

        Cpus = [.. _vcpus.Select(vcpu => new KvmCompanionCpu(vcpu))];
    }

    /// <summary>The monitor's interrupt is a fast one (group 0), as OP-TEE takes for the normal world's.</summary>
    private static void Prepare(KvmVcpu vcpu, Arm64Gic gic)
    {
        uint core = (uint)vcpu.Id;
        vcpu.SetVirtualTimerInterrupt(MonitorInterrupt);
        vcpu.SetPhysicalTimerInterrupt(TimerInterrupt);
        gic.SetRedistributorRegister(core, RedistributorGroup, ~(1u << MonitorInterrupt));
        gic.SetRedistributorRegister(
            core, RedistributorEnable, SoftwareInterrupts | 1u << MonitorInterrupt | 1u << TimerInterrupt);
        gic.SetCpuRegister(core, Arm64Register.InterruptPriorityMask, PriorityMask);
        gic.SetCpuRegister(core, Arm64Register.InterruptGroup0Enable, 1);
        gic.SetCpuRegister(core, Arm64Register.InterruptGroup1Enable, 1);
    }
}
