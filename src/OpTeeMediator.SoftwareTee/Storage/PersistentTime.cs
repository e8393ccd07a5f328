using System.Buffers.Binary;
using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>An application's persistent time: what it was set to, and when by the host's clock.</summary>
/// <param name="Time">The time since the application's origin.</param>
/// <param name="SetAt">The host's time when it was set.</param>
internal readonly record struct PersistentTime(TimeSpan Time, DateTimeOffset SetAt)
{
    /// <summary>How many bytes it is kept in.</summary>
    public const int Length = 16;

    private const long SecondsOfOverflow = 1L << 32;

    /// <summary>The latest time.</summary>
    public static TimeSpan Maximum { get; } = TimeSpan.FromSeconds(SecondsOfOverflow) - TimeSpan.FromTicks(1);

    /// <summary>Under which id it is kept: longer than an application's may be.</summary>
    public static byte[] Id { get; } =
        [.. "persistent time"u8, .. new byte[TrustedStorage.MaximumIdLength + 1 - "persistent time"u8.Length]];

    /// <summary>Whether a directory's entry is that of the time.</summary>
    public static bool IsEntry(DirectoryEntry entry) => entry.Id.AsSpan().SequenceEqual(Id);

    public static PersistentTime Parse(ReadOnlySpan<byte> bytes) => new(
        new TimeSpan(BinaryPrimitives.ReadInt64LittleEndian(bytes)),
        new DateTimeOffset(BinaryPrimitives.ReadInt64LittleEndian(bytes[8..]), TimeSpan.Zero));

    public byte[] ToBytes()
    {
        byte[] bytes = new byte[Length];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, Time.Ticks);
        BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(8), SetAt.UtcTicks);
        return bytes;
    }

    /// <summary>What the time is now.</summary>
    public TeeReturnCode Read(DateTimeOffset now, out TimeSpan time)
    {
        time = default;
        if (now < SetAt)
        {
            return TeeReturnCode.TimeNeedsReset;
        }

        TimeSpan sum = Time + (now - SetAt);
        time = new TimeSpan(sum.Ticks % (SecondsOfOverflow * TimeSpan.TicksPerSecond));
        return time == sum ? TeeReturnCode.Success : TeeReturnCode.Overflow;
    }
}
