using OpTeeMediator.Protocol;

namespace OpTeeMediator.Testing;

/// <summary>One parameter of a message, as a guest's driver writes it.</summary>
public readonly record struct GuestParameter(ulong Attributes, ulong A = 0, ulong B = 0, ulong C = 0)
{
    public static GuestParameter None => default;

    public static GuestParameter ValueIn(ulong a, ulong b) => new(OpTeeMessage.TypeValueInput, a, b);

    public static GuestParameter ValueOut() => new(OpTeeMessage.TypeValueOutput);

    public static GuestParameter ValueInOut(ulong a, ulong b) => new(OpTeeMessage.TypeValueInOut, a, b);

    public static GuestParameter RegisteredIn(ulong offset, ulong size, ulong cookie) =>
        new(OpTeeMessage.TypeRegisteredInput, offset, size, cookie);

    public static GuestParameter RegisteredOut(ulong offset, ulong size, ulong cookie) =>
        new(OpTeeMessage.TypeRegisteredOutput, offset, size, cookie);

    public static GuestParameter RegisteredInOut(ulong offset, ulong size, ulong cookie) =>
        new(OpTeeMessage.TypeRegisteredInOut, offset, size, cookie);

    public static GuestParameter Temporary(uint type, ulong pointer, ulong size, ulong cookie) =>
        new(type, pointer, size, cookie);

    public static GuestParameter PageList(ulong pointer, ulong size, ulong cookie) =>
        new(OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous, pointer, size, cookie);

    public static GuestParameter Meta(ulong a, ulong b, ulong c) =>
        new(OpTeeMessage.TypeValueInput | OpTeeMessage.AttributeMeta, a, b, c);
}
