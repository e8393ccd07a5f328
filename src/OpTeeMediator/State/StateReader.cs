using System.Buffers.Binary;

namespace OpTeeMediator.State;

/// <summary>Reads the fields of a state one after another, and trusts none of them.</summary>
/// <remarks>Every read throws <see cref="OpTeeStateException"/> if the state does not hold what is expected. Not
/// thread-safe.</remarks>
internal sealed class StateReader(ReadOnlyMemory<byte> state)
{
    private int _position;

    public byte ReadByte() => Take(1)[0];

    public bool ReadBoolean() => ReadByte() switch
    {
        0 => false,
        1 => true,
        byte other => throw Malformed($"a flag is {other}"),
    };

    public uint ReadUInt32() => BinaryPrimitives.ReadUInt32LittleEndian(Take(sizeof(uint)));

    public ulong ReadUInt64() => BinaryPrimitives.ReadUInt64LittleEndian(Take(sizeof(ulong)));

    /// <summary>Reads a number of things.</summary>
    /// <param name="atMost">The most that there can be.</param>
    /// <param name="what">What they are, for the message.</param>
    public int ReadCount(int atMost, string what)
    {
        uint count = ReadUInt32();
        return count <= (uint)atMost
            ? (int)count
            : throw new OpTeeStateException(
                $"The state has {count} {what}, and this VM may have {atMost}: give it the limits that it had when it "
                + "was saved.");
    }

    /// <summary>Reads a number that names one of an enumeration.</summary>
    public T ReadEnum<T>()
        where T : struct, Enum
    {
        int value = ReadByte();
        T result = (T)Enum.ToObject(typeof(T), value);
        return Enum.IsDefined(result) ? result : throw Malformed($"{value} is no {typeof(T).Name}");
    }

    public Guid ReadUuid() => new(Take(16), bigEndian: true);

    public ReadOnlySpan<byte> ReadRaw(int length) => Take(length);

    public ReadOnlyMemory<byte> ReadBlock()
    {
        uint length = ReadUInt32();
        if (length > (uint)(state.Length - _position))
        {
            throw Malformed("it ends too early");
        }

        ReadOnlyMemory<byte> block = state.Slice(_position, (int)length);
        _position += (int)length;
        return block;
    }

    /// <summary>Checks that nothing is left.</summary>
    public void End()
    {
        if (_position != state.Length)
        {
            throw Malformed($"{state.Length - _position} bytes are left at its end");
        }
    }

    public static OpTeeStateException Malformed(string what) =>
        new($"The state is malformed: {what}. It was not written by this version, or was changed.");

    private ReadOnlySpan<byte> Take(int length)
    {
        if (length > state.Length - _position)
        {
            throw Malformed("it ends too early");
        }

        ReadOnlySpan<byte> taken = state.Span.Slice(_position, length);
        _position += length;
        return taken;
    }
}
