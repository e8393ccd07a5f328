using System.Diagnostics.CodeAnalysis;
using System.Text;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Kvm.Arm64;

/// <summary>Saves and restores what KVM knows of an arm64 VM: its vCPUs, its counters, its GIC.</summary>
/// <remarks>
/// <code>
/// number of vCPUs (4 bytes)    each vCPU: see Arm64VcpuState
/// virtual counter, physical counter (8 bytes each)
/// number of the GIC's entries (4 bytes)    each: group (4), attribute (8), value (8)
/// </code>
/// <para>Numbers are little endian. Neither ITS nor LPIs, SVE or nested virtualization are saved. The VM's memory is
/// another section's. Not thread-safe.</para>
/// </remarks>
[Experimental("OPTEE001")]
public static class Arm64VmState
{
    private const int MostVcpus = 4096;
    private const int MostGicEntries = 1 << 20;

    /// <summary>Writes the state of vCPUs that do not run, and of their GIC.</summary>
    /// <param name="target">Where it is written, such as a section of a <see cref="State.VmStateWriter"/>.</param>
    /// <param name="gic">The VM's GIC.</param>
    /// <param name="counters">What the counters were when the last vCPU had stopped.</param>
    /// <param name="vcpus">All vCPUs of the VM, at least one. Each has ended its last exit
    /// (<see cref="KvmVcpu.CompleteExit"/>).</param>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">There is no vCPU.</exception>
    /// <exception cref="NotSupportedException">A vCPU has SVE.</exception>
    /// <exception cref="SystemCallException">KVM refuses: a vCPU runs.</exception>
    public static void Save(
        Stream target, Arm64Gic gic, Arm64Counters counters, params ReadOnlySpan<KvmVcpu> vcpus)
    {
        ArgumentNullException.ThrowIfNull(target);
        ArgumentNullException.ThrowIfNull(gic);
        if (vcpus.IsEmpty)
        {
            throw new ArgumentException("A VM has at least one vCPU.", nameof(vcpus));
        }

        using BinaryWriter writer = new(target, Encoding.UTF8, leaveOpen: true);
        writer.Write(vcpus.Length);
        foreach (KvmVcpu vcpu in vcpus)
        {
            Arm64VcpuState.Save(writer, vcpu);
        }

        writer.Write(counters.Virtual);
        writer.Write(counters.Physical);
        Arm64GicEntry[] entries = [.. gic.SaveState(vcpus)];
        writer.Write(entries.Length);
        foreach (Arm64GicEntry entry in entries)
        {
            writer.Write(entry.Group);
            writer.Write(entry.Attribute);
            writer.Write(entry.Value);
        }
    }

    /// <summary>Gives a VM the state of another one, in place of its own.</summary>
    /// <param name="source">What <see cref="Save"/> has written.</param>
    /// <param name="gic">The VM's GIC, with as many interrupts.</param>
    /// <param name="vcpus">All vCPUs of the VM, as many, initialised with the same features. None runs.</param>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">There is no vCPU.</exception>
    /// <exception cref="InvalidDataException">The state makes no sense, or is that of another VM or another kind of
    /// host; the VM is to be disposed of.</exception>
    /// <exception cref="SystemCallException">KVM refuses; the VM is to be disposed of.</exception>
    /// <returns>The counters, which have been set. If time passes before the vCPUs run, set them again then.</returns>
    public static Arm64Counters Restore(Stream source, Arm64Gic gic, params ReadOnlySpan<KvmVcpu> vcpus)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(gic);
        if (vcpus.IsEmpty)
        {
            throw new ArgumentException("A VM has at least one vCPU.", nameof(vcpus));
        }

        using BinaryReader reader = new(source, Encoding.UTF8, leaveOpen: true);
        try
        {
            int count = StateNumber.Read(reader, "vCPUs", MostVcpus);
            if (count != vcpus.Length)
            {
                throw new InvalidDataException(
                    $"The saved state has {count} vCPUs; the VM has {vcpus.Length}.");
            }

            foreach (KvmVcpu vcpu in vcpus)
            {
                Arm64VcpuState.Restore(reader, vcpu);
            }

            Arm64Counters counters = new(reader.ReadUInt64(), reader.ReadUInt64());
            Arm64GicEntry[] entries = new Arm64GicEntry[StateNumber.Read(reader, "GIC registers", MostGicEntries)];
            for (int index = 0; index < entries.Length; index++)
            {
                entries[index] = new Arm64GicEntry(reader.ReadUInt32(), reader.ReadUInt64(), reader.ReadUInt64());
                if (!Arm64Gic.IsState(entries[index].Group))
                {
                    throw new InvalidDataException(
                        $"The saved state has GIC attributes of group {entries[index].Group}.");
                }
            }

            gic.RestoreState([.. entries]);
            counters.Set(vcpus[0]);
            return counters;
        }
        catch (EndOfStreamException)
        {
            throw new InvalidDataException("The saved state of the vCPUs ends too early.");
        }
    }
}
