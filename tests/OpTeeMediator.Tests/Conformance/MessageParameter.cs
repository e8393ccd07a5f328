using System.Runtime.InteropServices;

namespace OpTeeMediator.Tests.Conformance;

/// <summary>A parameter of a message (<c>struct optee_msg_param</c>): an attribute and three numbers.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct MessageParameter(MessageAttribute Attribute, ulong A, ulong B, ulong C)
{
    /// <summary>The size of a parameter in bytes.</summary>
    public const ulong Size = 32;

    public const ulong FirstOffset = 8;
    public const ulong SecondOffset = 16;
    public const ulong ThirdOffset = 24;

    public static MessageParameter Value(MessageAttribute attribute, ulong a, ulong b) => new(attribute, a, b, 0);

    /// <summary>A piece of a registered buffer.</summary>
    public static MessageParameter Memory(MessageAttribute attribute, SharedBuffer buffer, ulong offset, ulong size) =>
        new(attribute, offset, size, buffer.Cookie);

    /// <summary>A UUID, in the byte order of RFC 4122, and the login type beside it.</summary>
    public static MessageParameter Uuid(Guid uuid, uint login)
    {
        Span<byte> octets = stackalloc byte[16];
        _ = uuid.TryWriteBytes(octets, bigEndian: true, out _);
        ReadOnlySpan<ulong> halves = MemoryMarshal.Cast<byte, ulong>(octets);
        return new MessageParameter(MessageAttribute.VALUE_INPUT | MessageAttribute.META, halves[0], halves[1], login);
    }
}
