using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Kvm.Arm64;

/// <summary>Saves and restores a vCPU: whether it runs, what it is to take, and all registers that KVM lists.</summary>
/// <remarks>
/// <code>
/// MP state (4 bytes)    SError pending (1), with a syndrome (1), the syndrome (8)
/// number of registers (4)    each: KVM's number (8), the value, as large as bits 55:52 of the number say
/// </code>
/// The counters are not among the registers: KVM moves them for the whole VM.
/// </remarks>
internal static class Arm64VcpuState
{
    private const int MostRegisters = 1 << 16;

    // KVM_REG_ARM64_SVE in bits 27:16.
    private const ulong Sve = 0x15;

    // Bits 55:52: 16 bytes, the size of a vector register.
    private const int LargestSize = 4;

    internal static unsafe void Save(BinaryWriter writer, KvmVcpu vcpu)
    {
        Arm64VcpuEvents events = default;
        vcpu.Control(Arm64Ioctl.KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS", ref events, "");
        writer.Write((uint)vcpu.MpState);
        writer.Write(events.SystemErrorPending);
        writer.Write(events.SystemErrorHasSyndrome);
        writer.Write(events.SystemErrorSyndrome);
        ulong[] registers = [.. vcpu.ListRegisters().Where(id => !IsCounter(id))];
        writer.Write(registers.Length);
        Span<byte> value = stackalloc byte[1 << LargestSize];
        foreach (ulong id in registers)
        {
            int size = SizeOf(id);
            if ((id >> 16 & 0xfff) == Sve || size > LargestSize)
            {
                throw new NotSupportedException(
                    $"vCPU {vcpu.Id} has the register 0x{id:x}: the state of vCPUs with SVE cannot be saved.");
            }

            vcpu.GetRegister(id, value[..(1 << size)]);
            writer.Write(id);
            writer.Write(value[..(1 << size)]);
        }
    }

    internal static void Restore(BinaryReader reader, KvmVcpu vcpu)
    {
        KvmMpState state = (KvmMpState)reader.ReadUInt32();
        Arm64VcpuEvents events = default;
        events.SystemErrorPending = reader.ReadByte();
        events.SystemErrorHasSyndrome = reader.ReadByte();
        events.SystemErrorSyndrome = reader.ReadUInt64();
        int count = StateNumber.Read(reader, "registers", MostRegisters);
        HashSet<ulong> known = [.. vcpu.ListRegisters().Where(id => !IsCounter(id))];
        Span<byte> value = stackalloc byte[1 << LargestSize];
        Span<byte> current = stackalloc byte[1 << LargestSize];
        for (int index = 0; index < count; index++)
        {
            ulong id = reader.ReadUInt64();
            if (!known.Remove(id) || SizeOf(id) > LargestSize)
            {
                throw new InvalidDataException(
                    $"The saved state has the register 0x{id:x}, which a vCPU of this host does not have.");
            }

            Span<byte> present = value[..(1 << SizeOf(id))];
            reader.BaseStream.ReadExactly(present);
            RestoreRegister(vcpu, id, present, current[..present.Length]);
        }

        vcpu.Control(Arm64Ioctl.KVM_SET_VCPU_EVENTS, "KVM_SET_VCPU_EVENTS", ref events, "");
        vcpu.MpState = state;
    }

    private static void RestoreRegister(
        KvmVcpu vcpu, ulong id, ReadOnlySpan<byte> value, Span<byte> current)
    {
        try
        {
            vcpu.SetRegister(id, value);
        }
        catch (SystemCallException refusal)
        {
            // Some that say what the CPU is may not be written, even with their value.
            vcpu.GetRegister(id, current);
            if (!value.SequenceEqual(current))
            {
                throw new InvalidDataException(
                    $"This host's KVM does not take the register 0x{id:x} of the saved state: it has"
                        + $" 0x{Convert.ToHexString(current)}, not 0x{Convert.ToHexString(value)} (bytes in their"
                        + $" order in memory). The hosts' CPUs or kernels differ. {refusal.Message}");
            }
        }
    }

    private static bool IsCounter(ulong id) =>
        id == Arm64Register.VirtualCounter.Id || id == Arm64Register.PhysicalCounter.Id;

    private static int SizeOf(ulong id) => (int)(id >> 52 & 0xf);
}
