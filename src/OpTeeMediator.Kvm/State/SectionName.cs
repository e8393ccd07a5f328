using System.Text;

namespace OpTeeMediator.Kvm.State;

/// <summary>A section's name in bytes.</summary>
internal static class SectionName
{
    internal const int Size = 4;

    internal static byte[] Encode(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return name.Length == Size && Ascii.IsValid(name)
            ? Encoding.ASCII.GetBytes(name)
            : throw new ArgumentException($"'{name}': a section's name has {Size} ASCII characters.", nameof(name));
    }

    /// <summary>What a state has in place of a name, for a message: anybody may have written a state without a
    /// key.</summary>
    internal static string Show(ReadOnlySpan<byte> found)
    {
        Span<char> shown = stackalloc char[Size];
        for (int index = 0; index < Size; index++)
        {
            shown[index] = found[index] is >= (byte)' ' and <= (byte)'~' ? (char)found[index] : '?';
        }

        return new string(shown);
    }
}
