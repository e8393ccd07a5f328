using System.Buffers.Binary;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Calls;

/// <summary>A message as bytes in guest memory, to see that nothing but the outputs is written.</summary>
internal static class MessageBytes
{
    // struct optee_msg_arg and optee_msg_param, by hand from optee_msg.h.
    public const int Session = 8;
    public const int Padding = 16;
    public const int ReturnCode = 20;
    public const int ReturnOrigin = 24;

    public static int A(int parameter) => 32 + (32 * parameter) + 8;

    public static int B(int parameter) => 32 + (32 * parameter) + 16;

    /// <summary>Writes a message into a page that is full of a sentinel, so that no byte of
    /// it is 0 by chance.</summary>
    public static byte[] Write(FakeDriver driver, ulong page, GuestMessage message)
    {
        driver.Write<byte>(page, Enumerable.Repeat((byte)0xa5, OpTeeMessage.PageSize).ToArray());
        driver.WriteMessage(page, message);
        driver.Write<uint>(page + Padding, [0x5ad0_5ad0]);
        return Read(driver, page);
    }

    public static byte[] Read(FakeDriver driver, ulong page)
    {
        byte[] bytes = new byte[OpTeeMessage.PageSize];
        driver.Read<byte>(page, bytes);
        return bytes;
    }

    public static byte[] With32(this byte[] bytes, int offset, uint value)
    {
        byte[] changed = [.. bytes];
        BinaryPrimitives.WriteUInt32LittleEndian(changed.AsSpan(offset), value);
        return changed;
    }

    public static byte[] With64(this byte[] bytes, int offset, ulong value)
    {
        byte[] changed = [.. bytes];
        BinaryPrimitives.WriteUInt64LittleEndian(changed.AsSpan(offset), value);
        return changed;
    }

    /// <summary>The bytes with the result of a call.</summary>
    public static byte[] WithResult(this byte[] bytes, uint code, uint origin) =>
        bytes.With32(ReturnCode, code).With32(ReturnOrigin, origin);
}
