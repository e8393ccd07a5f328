using System.Globalization;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>The revision of the host's OP-TEE, as its kernel shows it.</summary>
/// <remarks>
/// <code>
/// /sys/class/tee/tee0/revision    4.10 (0123456789abcdef)    major.minor (build identifier in hexadecimal)
/// </code>
/// Newer kernels have this attribute (<c>optee_get_revision</c>); those before print the revision to their log only.
/// </remarks>
internal static class HostRevision
{
    /// <summary>Reads the attribute's text.</summary>
    internal static OpTeeRevision? Parse(ReadOnlySpan<char> text)
    {
        text = text.Trim();
        int dot = text.IndexOf('.');
        int space = text.IndexOf(' ');
        ReadOnlySpan<char> numbers = space < 0 ? text : text[..space];
        if (dot < 0 || dot > numbers.Length
            || !uint.TryParse(numbers[..dot], NumberStyles.None, CultureInfo.InvariantCulture, out uint major)
            || !uint.TryParse(numbers[(dot + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out uint minor))
        {
            return null;
        }

        ulong build = 0;
        ReadOnlySpan<char> rest = space < 0 ? "" : text[(space + 1)..].Trim();
        bool isValid = rest.IsEmpty
            || (rest is ['(', .., ')']
                && ulong.TryParse(
                    rest[1..^1], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out build));
        return isValid ? new OpTeeRevision(major, minor, build) : null;
    }
}
