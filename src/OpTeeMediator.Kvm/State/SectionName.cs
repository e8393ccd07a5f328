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
}
