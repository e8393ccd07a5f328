using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using Iced.Intel;
using MinimalVmm.X86;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;

namespace MinimalVmm.Machine;

/// <summary>A VM of KVM on x86-64.</summary>
internal sealed class KvmMachine : IMachine
{
    // The order of struct kvm_regs.
    private static readonly Register[] RegisterOrder =
    [
        Register.RAX, Register.RBX, Register.RCX, Register.RDX, Register.RSI, Register.RDI, Register.RSP, Register.RBP,
        Register.R8, Register.R9, Register.R10, Register.R11, Register.R12, Register.R13, Register.R14, Register.R15,
    ];

    private readonly MemfdGuestMemory _memory;
    private readonly KvmVm _vm;
    private readonly KvmVcpu _vcpu;
    private readonly GuestAddress _pageTables;

    private KvmMachine(KvmSystem kvm, GuestRange ram)
    {
        _memory = MemfdGuestMemory.Create(ram);
        _vm = kvm.CreateVm();
        _vm.MapMemory(_memory);
        _vcpu = _vm.CreateVcpu(0);
        _vcpu.ShareRegisters(X86RegisterClasses.General);
        _pageTables = ram.Start;
        WritePageTables(ram);
        EnterLongMode();
    }

    /// <inheritdoc/>
    public string Description => "in a VM of KVM";

    /// <inheritdoc/>
    public IGuestMemory Memory => _memory;

    /// <inheritdoc/>
    public ref ulong this[Register register]
    {
        get
        {
            Span<ulong> registers = MemoryMarshal.CreateSpan(ref _vcpu.ChangeSharedRegisters().Rax, RegisterOrder.Length);
            return ref registers[Array.IndexOf(RegisterOrder, register)];
        }
    }

    /// <summary>Creates a machine if KVM can be used here.</summary>
    /// <param name="ram">Its memory.</param>
    /// <param name="machine">The machine.</param>
    /// <param name="reason">Why there is none.</param>
    /// <returns>Whether there is one.</returns>
    public static bool TryCreate(GuestRange ram, [NotNullWhen(true)] out IMachine? machine, [NotNullWhen(false)] out string? reason)
    {
        (machine, reason) = (null, null);
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            reason = $"the guest is x86-64 machine code, and this is {RuntimeInformation.RuntimeIdentifier}";
            return false;
        }

        try
        {
            using KvmSystem kvm = KvmSystem.Open();
            machine = new KvmMachine(kvm, ram);
        }
        catch (Exception refusal) when (refusal is SystemCallException or NotSupportedException)
        {
            reason = refusal.Message;
        }

        return machine is not null;
    }

    /// <inheritdoc/>
    public void Start(ulong address)
    {
        ref X86Registers registers = ref _vcpu.ChangeSharedRegisters();
        registers.Rip = address;
        registers.Rsp = address;
        registers.Rflags = 2;
    }

    /// <inheritdoc/>
    public Doorbell Run()
    {
        while (true)
        {
            switch (_vcpu.Run())
            {
                case KvmExitReason.Interrupted:
                    continue;

                // KVM steps over the OUT when the vCPU runs again; RIP stays where it is until then.
                case KvmExitReason.Io when _vcpu.Io.IsWrite:
                    return (Doorbell)_vcpu.Io.Port;
                default:
                    throw new GuestStoppedException($"The guest stopped at 0x{_vcpu.SharedRegisters().Rip:x}: {_vcpu.ExitReason}.");
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _vcpu.Dispose();
        _vm.Dispose();
        _memory.Dispose();
    }

    // 64-bit mode needs paging. RAM is mapped where it is, in pages of 2 MiB; the three tables lie at its beginning.
    private void WritePageTables(GuestRange ram)
    {
        const ulong PresentAndWritable = 3;
        const ulong LargePage = 1 << 7;
        const ulong LargePageSize = 2 << 20;
        GuestAddress level4 = _pageTables;
        GuestAddress level3 = level4.Add(GuestPages.PageSize);
        GuestAddress level2 = level3.Add(GuestPages.PageSize);
        SetEntry(level4, ram.Start.Value >> 39, level3.Value | PresentAndWritable);
        SetEntry(level3, ram.Start.Value >> 30, level2.Value | PresentAndWritable);
        for (ulong address = ram.Start.Value; address < ram.End.Value; address += LargePageSize)
        {
            SetEntry(level2, address / LargePageSize, address | PresentAndWritable | LargePage);
        }
    }

    private void SetEntry(GuestAddress table, ulong index, ulong value) => _ = _memory.TryWrite(table.Add(index % 512 * sizeof(ulong)), value);

    private void EnterLongMode()
    {
        const ulong ProtectedModeAndPaging = 0x8000_0001;
        const ulong PhysicalAddressExtension = 1 << 5;
        const ulong LongModeEnabledAndActive = 0x500;
        const byte ReadWrite = 3;
        const byte ExecuteRead = 11;

        X86SpecialRegisters registers = _vcpu.GetSpecialRegisters();
        registers.Cr0 = ProtectedModeAndPaging;
        registers.Cr3 = _pageTables.Value;
        registers.Cr4 = PhysicalAddressExtension;
        registers.Efer = LongModeEnabledAndActive;
        X86Segment data = new() { Limit = uint.MaxValue, Selector = 16, Type = ReadWrite, IsPresent = 1, IsCodeOrData = 1, IsGranular = 1 };
        registers.Cs = data with { Selector = 8, Type = ExecuteRead, IsLong = 1 };
        (registers.Ds, registers.Es, registers.Fs, registers.Gs, registers.Ss) = (data, data, data, data, data);
        _vcpu.SetSpecialRegisters(registers);
    }
}
