using System.Diagnostics.CodeAnalysis;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Memory;

/// <summary>Maps guest RAM into a VM of KVM.</summary>
[Experimental("OPTEE001")]
public static class GuestMemoryMapping
{
    /// <summary>Maps every region of <paramref name="memory"/> into the VM, one slot each.</summary>
    /// <param name="vm">The VM.</param>
    /// <param name="memory">The memory; dispose of it after the VM.</param>
    /// <param name="firstSlot">The slot of the first region; the others follow.</param>
    /// <returns>The first slot that is still free.</returns>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses a region.</exception>
    /// <remarks>Regions added later are mapped with <see cref="KvmVm.SetMemoryRegion"/>. Thread-safe.</remarks>
    public static int MapMemory(this KvmVm vm, MappedGuestMemory memory, int firstSlot)
    {
        ArgumentNullException.ThrowIfNull(vm);
        ArgumentNullException.ThrowIfNull(memory);
        int slot = firstSlot;
        foreach (MappedMemoryRegion region in memory.Regions)
        {
            GuestRange range = region.Range;
            vm.SetMemoryRegion(slot, range.Start.Value, range.Length, region.HostAddress, KvmMemoryFlags.None);
            slot++;
        }

        return slot;
    }

    /// <inheritdoc cref="MapMemory(KvmVm, MappedGuestMemory, int)" path="/*[not(self::summary)]"/>
    /// <summary>Maps every region of <paramref name="memory"/> into the VM, from slot 0 on.</summary>
    public static void MapMemory(this KvmVm vm, MappedGuestMemory memory) => _ = vm.MapMemory(memory, 0);
}
