using System.Runtime.InteropServices;
using MinimalVmm.X86;
using OpTeeMediator.Kvm;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;

namespace MinimalVmm.Machine;

/// <summary>A VM of KVM on x86-64.</summary>
internal sealed class KvmMachine : IMachine
{
    private readonly MemfdGuestMemory _memory;
    private readonly KvmVm _vm;
    private readonly KvmVcpu _vcpu;
    private X86Registers _registers;

    /// <summary>Creates a VM.</summary>
    /// <param name="ram">Its RAM, 2 MiB. The first three pages are used for page tables.</param>
    /// <param name="entry">Where the guest begins.</param>
    public KvmMachine(GuestRange ram, ulong entry)
    {
        using KvmSystem kvm = KvmSystem.Open();
        _memory = MemfdGuestMemory.Create(ram);
        _vm = kvm.CreateVm();
        _vm.MapMemory(_memory);
        _vcpu = _vm.CreateVcpu(0);
        WritePageTables(ram.Start.Value);
        EnterLongMode(ram.Start.Value);
        _registers = new X86Registers { Rip = entry, Rflags = 2 };
    }

    /// <inheritdoc/>
    public IGuestMemory Memory => _memory;

    /// <inheritdoc/>
    public Span<ulong> X => MemoryMarshal.CreateSpan(ref _registers.R8, 8);

    /// <inheritdoc/>
    public byte Al => (byte)_registers.Rax;

    /// <inheritdoc/>
    public byte Run()
    {
        _vcpu.SetRegisters(_registers);
        KvmExitReason reason;
        do
        {
            reason = _vcpu.Run();
        }
        while (reason == KvmExitReason.Interrupted);

        _registers = _vcpu.GetRegisters();
        return reason == KvmExitReason.Io && _vcpu.Io.IsWrite
            ? (byte)_vcpu.Io.Port
            : throw new InvalidOperationException($"The guest stopped at 0x{_registers.Rip:x}: {reason}.");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _vcpu.Dispose();
        _vm.Dispose();
        _memory.Dispose();
    }

    // 64-bit mode needs paging: one page of 2 MiB, at the same virtual address as in guest memory.
    private void WritePageTables(ulong ram)
    {
        const ulong PresentAndWritable = 3;
        const ulong LargePage = 1 << 7;
        ulong level3 = ram + GuestPages.PageSize;
        ulong level2 = level3 + GuestPages.PageSize;
        _ = _memory.TryWrite(EntryOf(ram, ram >> 39), level3 | PresentAndWritable)
            && _memory.TryWrite(EntryOf(level3, ram >> 30), level2 | PresentAndWritable)
            && _memory.TryWrite(EntryOf(level2, ram >> 21), ram | LargePage | PresentAndWritable);

        static GuestAddress EntryOf(ulong table, ulong index) => table + (index % 512 * sizeof(ulong));
    }

    private void EnterLongMode(ulong pageTables)
    {
        const ulong ProtectedModeAndPaging = 0x8000_0001;
        const ulong PhysicalAddressExtension = 1 << 5;
        const ulong LongModeEnabledAndActive = 0x500;
        const byte ReadWrite = 3;
        const byte ExecuteRead = 11;

        X86SpecialRegisters registers = _vcpu.GetSpecialRegisters();
        registers.Cr0 = ProtectedModeAndPaging;
        registers.Cr3 = pageTables;
        registers.Cr4 = PhysicalAddressExtension;
        registers.Efer = LongModeEnabledAndActive;
        X86Segment data = new()
        {
            Limit = uint.MaxValue, Selector = 16, Type = ReadWrite, IsPresent = 1, IsCodeOrData = 1, IsGranular = 1,
        };
        registers.Cs = data with { Selector = 8, Type = ExecuteRead, IsLong = 1 };
        (registers.Ds, registers.Es, registers.Fs, registers.Gs, registers.Ss) = (data, data, data, data, data);
        _vcpu.SetSpecialRegisters(registers);
    }
}
