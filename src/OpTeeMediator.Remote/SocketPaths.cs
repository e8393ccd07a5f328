using System.Text;

namespace OpTeeMediator.Remote;

/// <summary>Checks paths of Unix sockets.</summary>
internal static class SocketPaths
{
    // sun_path, with its last zero.
    private const int MaximumLength = 107;

    /// <summary>Throws if no socket can have the path; the message names the option.</summary>
    public static void Check(string path, string option)
    {
        if (string.IsNullOrEmpty(path) || path.Contains('\0', StringComparison.Ordinal)
            || Encoding.UTF8.GetByteCount(path) > MaximumLength)
        {
            throw new ArgumentException(
                $"{option} must be the path of a Unix socket, 1 to {MaximumLength} bytes; found '{path}'.", option);
        }
    }
}
