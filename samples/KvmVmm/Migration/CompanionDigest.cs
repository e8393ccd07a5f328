using System.Buffers.Binary;
using System.Security.Cryptography;
using OpTeeMediator.Kvm.State;

namespace KvmVmm.Migration;

/// <summary>A digest of a companion's own memory and of the GIC that OP-TEE sees, from its saved state
/// (--check-pages).</summary>
internal static class CompanionDigest
{
    private const int PageSize = 4096;

    // At the end of the section: 256 shared interrupts; 32 of each of the 4 cores.
    private const int GicSize = (256 + (4 * 32)) * 13 / 8;

    /// <summary>Computes it.</summary>
    /// <param name="state">The whole state of the companion.</param>
    /// <param name="options">How it was saved.</param>
    /// <returns>The SHA-256 of address and content of each page that is not zero, and of the GIC's registers.</returns>
    public static byte[] Compute(Stream state, VmStateOptions options)
    {
        using VmStateReader reader = new(state, options);
        foreach (string before in (string[])["VMOF", "LINE", "CALL"])
        {
            reader.OpenSection(before).CopyTo(Stream.Null);
        }

        // How the pages are put together in runs may differ.
        Stream memory = reader.OpenSection("MEMO");
        Span<byte> number = stackalloc byte[sizeof(ulong)];
        byte[] page = new byte[PageSize];
        memory.ReadExactly(number[..sizeof(int)]);
        for (int regions = BinaryPrimitives.ReadInt32LittleEndian(number); regions > 0; regions--)
        {
            memory.ReadExactly(page.AsSpan(0, 2 * sizeof(ulong)));
        }

        using IncrementalHash digest = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        while (true)
        {
            memory.ReadExactly(number);
            ulong address = BinaryPrimitives.ReadUInt64LittleEndian(number);
            memory.ReadExactly(number[..sizeof(int)]);
            int pages = BinaryPrimitives.ReadInt32LittleEndian(number);
            if (pages == 0)
            {
                using MemoryStream cores = new();
                reader.OpenSection("CORE").CopyTo(cores);
                digest.AppendData(cores.ToArray().AsSpan(^GicSize..));
                return digest.GetHashAndReset();
            }

            for (; pages > 0; pages--, address += PageSize)
            {
                memory.ReadExactly(page);
                BinaryPrimitives.WriteUInt64LittleEndian(number, address);
                digest.AppendData(number);
                digest.AppendData(page);
            }
        }
    }
}
