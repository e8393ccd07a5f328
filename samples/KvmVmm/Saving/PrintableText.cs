using System.Globalization;
using System.Text;

namespace KvmVmm.Saving;

/// <summary>Text that another process or a file has supplied, for a log or a terminal.</summary>
/// <remarks>Without a key anybody may have written it: it must neither control a terminal nor look like several
/// lines.</remarks>
internal static class PrintableText
{
    /// <summary>Reads UTF-8, with a space for each character that is not visible.</summary>
    /// <param name="utf8">The bytes.</param>
    /// <returns>The text.</returns>
    public static string Read(ReadOnlySpan<byte> utf8) => string.Concat(
        Encoding.UTF8.GetString(utf8).EnumerateRunes().Select(
            rune => Rune.GetUnicodeCategory(rune) is UnicodeCategory.Control or UnicodeCategory.Format
                or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator ? " " : rune.ToString()));
}
