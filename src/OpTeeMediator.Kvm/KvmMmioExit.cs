using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm;

/// <summary>An access outside memory (KVM_EXIT_MMIO). Borrows from kvm_run: valid until the vCPU runs again.</summary>
/// <remarks>The instruction is complete only when the vCPU has run again: before reading or changing registers that
/// depend on it call <see cref="KvmVcpu.CompleteExit"/>. Belongs to the vCPU's thread.</remarks>
[Experimental("OPTEE001")]
public readonly ref struct KvmMmioExit
{
    internal KvmMmioExit(ulong address, bool isWrite, Span<byte> data)
    {
        Address = address;
        IsWrite = isWrite;
        Data = data;
    }

    /// <summary>The guest address.</summary>
    public ulong Address { get; }

    /// <summary>Whether the guest writes; otherwise it reads, and <see cref="Data"/> is to be filled.</summary>
    public bool IsWrite { get; }

    /// <summary>The bytes, 1 to 8 of them.</summary>
    public Span<byte> Data { get; }

    /// <summary>The bytes as one little-endian number.</summary>
    public ulong ReadValue()
    {
        Span<byte> eight = stackalloc byte[sizeof(ulong)];
        Data.CopyTo(eight);
        return BinaryPrimitives.ReadUInt64LittleEndian(eight);
    }

    /// <summary>Answers a guest's read with a little-endian number; what does not fit is cut off.</summary>
    /// <param name="value">The number.</param>
    public void WriteValue(ulong value)
    {
        Span<byte> eight = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(eight, value);
        eight[..Data.Length].CopyTo(Data);
    }
}
