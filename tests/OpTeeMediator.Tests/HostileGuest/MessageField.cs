using OpTeeMediator.Protocol;

namespace OpTeeMediator.Tests.HostileGuest;

/// <summary>A word that a guest writes and the mediator reads: of a message, or of a page list.</summary>
/// <param name="Name">What it is.</param>
/// <param name="Address">Where it lies.</param>
/// <param name="Size">4 or 8 bytes.</param>
internal readonly record struct MessageField(string Name, ulong Address, int Size)
{
    private static readonly string[] HeaderNames =
        ["cmd", "func", "session", "cancel_id", "pad", "ret", "ret_origin", "num_params"];

    private static readonly string[] ParameterNames = ["attr", "a", "b", "c"];

    /// <summary>All fields of a message.</summary>
    public static IEnumerable<MessageField> OfMessage(string name, ulong address, int parameters)
    {
        for (int index = 0; index < HeaderNames.Length; index++)
        {
            yield return new MessageField(
                $"{name}.{HeaderNames[index]}", address + ((ulong)index * sizeof(uint)), sizeof(uint));
        }

        for (int parameter = 0; parameter < parameters; parameter++)
        {
            ulong start = address + (ulong)OpTeeMessage.Size(parameter);
            for (int index = 0; index < ParameterNames.Length; index++)
            {
                yield return new MessageField($"{name}.params[{parameter}].{ParameterNames[index]}",
                    start + ((ulong)index * sizeof(ulong)), sizeof(ulong));
            }
        }
    }

    /// <summary>The first entries of a page of a page list.</summary>
    public static IEnumerable<MessageField> OfListPage(string name, ulong address, int entries)
    {
        for (int index = 0; index < entries; index++)
        {
            string entry = index == OpTeeMessage.AddressesPerListPage ? "next" : $"pages[{index}]";
            yield return new MessageField($"{name}.{entry}", address + ((ulong)index * sizeof(ulong)), sizeof(ulong));
        }
    }
}
