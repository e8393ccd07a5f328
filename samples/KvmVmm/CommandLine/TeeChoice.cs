using System.Diagnostics.CodeAnalysis;

namespace KvmVmm.CommandLine;

/// <summary>The value of --tee.</summary>
/// <param name="Kind">Where the guest's trusted applications run.</param>
/// <param name="Place">
/// The device of <see cref="TeeKind.Linux"/> or the image of <see cref="TeeKind.Companion"/>, <see langword="null"/>
/// for the usual one; the socket of <see cref="TeeKind.Remote"/>.
/// </param>
internal sealed record TeeChoice(TeeKind Kind, string? Place)
{
    /// <summary>Reads one: a kind, and a place after a colon.</summary>
    /// <param name="text">The text.</param>
    /// <param name="choice">The choice, if the text is one.</param>
    /// <returns>Whether it is one.</returns>
    public static bool TryParse(string text, [NotNullWhen(true)] out TeeChoice? choice)
    {
        string[] parts = text.Split(':', 2);
        string? place = parts.Length > 1 ? parts[1] : null;
        choice = (parts[0], place) switch
        {
            (_, "") => null,
            ("linux", _) => new TeeChoice(TeeKind.Linux, place),
            ("software", null) => new TeeChoice(TeeKind.Software, null),
            ("companion", _) => new TeeChoice(TeeKind.Companion, place),
            ("remote", not null) => new TeeChoice(TeeKind.Remote, place),
            _ => null,
        };
        return choice is not null;
    }
}
