using System.Buffers.Binary;

namespace OpTeeMediator.Fuzzing.Engine;

/// <summary>Makes an input of another one by a few random changes.</summary>
internal sealed class Mutator(ulong seed)
{
    // Borders of pages, of fields and of numbers.
    private static readonly ulong[] Interesting =
    [
        0, 1, 2, 4, 7, 8, 0x1f, 0x20, 0x7f, 0x80, 0xff, 0x100, 0x1ff, 0x200, 0xff8, 0xfff, 0x1000, 0x1001, 0x7fff,
        0x8000, 0xffff, 0x10000, 0x4000_0000, 0x4000_1000, 0x4001_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_0000,
        0xffff_f000, 0xffff_ffff, 0x1_0000_0000, 0x7fff_ffff_ffff_ffff, 0x8000_0000_0000_0000,
        0xffff_ffff_ffff_e000, 0xffff_ffff_ffff_f000, ulong.MaxValue,
    ];

    private ulong _state = seed;

    /// <summary>A random number below a limit.</summary>
    public int Below(int limit) => (int)(Next() % (uint)limit);

    /// <summary>Changes an input.</summary>
    /// <param name="bytes">The input, with room behind it.</param>
    /// <param name="length">Its length.</param>
    /// <param name="other">Another input, of which a part may be taken over.</param>
    /// <returns>Its new length.</returns>
    public int Mutate(Span<byte> bytes, int length, ReadOnlySpan<byte> other)
    {
        for (int changes = 1 << Below(5); changes > 0; changes--)
        {
            length = Change(bytes, length, other);
        }

        return length;
    }

    private int Change(Span<byte> bytes, int length, ReadOnlySpan<byte> other)
    {
        if (length == 0)
        {
            return Insert(bytes, 0, Below(16) + 1);
        }

        int place = Below(length);
        switch (Below(9))
        {
            case 0:
                bytes[place] ^= (byte)(1 << Below(8));
                return length;
            case 1:
                bytes[place] = (byte)Next();
                return length;
            case 2:
                bytes[place] += (byte)(Below(35) - 17);
                return length;
            case 3 or 4:
                Write(bytes[place..length], Interesting[Below(Interesting.Length)]);
                return length;
            case 5:
                return Remove(bytes, length, place, 1 + Below(Math.Min(length - place, 32)));
            case 6:
                return Insert(bytes, length, 1 + Below(16));
            case 7:
                // A copy of another part of itself, over what is there.
                int count = Math.Min(1 + Below(64), Math.Min(length - place, length));
                bytes.Slice(Below(length - count + 1), count).CopyTo(bytes[place..]);
                return length;
            default:
                return other.IsEmpty ? length : Overwrite(bytes, length, place, other);
        }
    }

    private void Write(Span<byte> bytes, ulong value)
    {
        Span<byte> word = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(word, value);
        if (Below(4) == 0)
        {
            word.Reverse();
        }

        int width = Math.Min(1 << Below(4), bytes.Length);
        word[..width].CopyTo(bytes);
    }

    private static int Remove(Span<byte> bytes, int length, int place, int count)
    {
        bytes[(place + count)..length].CopyTo(bytes[place..]);
        return length - count;
    }

    private int Insert(Span<byte> bytes, int length, int count)
    {
        count = Math.Min(count, bytes.Length - length);
        int place = Below(length + 1);
        bytes[place..length].CopyTo(bytes[(place + count)..]);
        byte filler = (byte)Next();
        bool isRandom = Below(2) == 0;
        foreach (ref byte inserted in bytes.Slice(place, count))
        {
            inserted = isRandom ? (byte)Next() : filler;
        }

        return length + count;
    }

    private int Overwrite(Span<byte> bytes, int length, int place, ReadOnlySpan<byte> other)
    {
        int start = Below(other.Length);
        int count = Math.Min(1 + Below(other.Length - start), bytes.Length - place);
        other.Slice(start, count).CopyTo(bytes[place..]);
        return Math.Max(length, place + count);
    }

    // SplitMix64.
    private ulong Next()
    {
        ulong mixed = _state += 0x9e37_79b9_7f4a_7c15;
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58_476d_1ce4_e5b9;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d0_49bb_1331_11eb;
        return mixed ^ (mixed >> 31);
    }
}
