using System.Text;
using Microsoft.Extensions.Logging;

namespace OpTeeMediator.Linux.Companion;

/// <summary>Makes messages of what OP-TEE writes to its UART, line by line.</summary>
/// <remarks>What trusted applications print may be a guest's choice: only printable ASCII goes through, and a line that
/// does not end is cut. Thread-safe.</remarks>
internal sealed class TeeConsole(string name, ILogger logger)
{
    private const int LongestLine = 400;

    private readonly Lock _gate = new();
    private readonly byte[] _line = new byte[LongestLine];
    private int _length;

    internal void Write(byte character)
    {
        lock (_gate)
        {
            switch (character)
            {
                case (byte)'\n':
                    Flush();
                    break;
                case (byte)'\r':
                    break;
                default:
                    _line[_length++] = character is >= (byte)' ' and <= (byte)'~' ? character : (byte)'?';
                    if (_length == LongestLine)
                    {
                        Flush();
                    }

                    break;
            }
        }
    }

    private void Flush()
    {
        ReadOnlySpan<byte> line = _line.AsSpan(0, _length);
        _length = 0;
        LogLevel level = LevelOf(line);
        if (!line.IsEmpty && logger.IsEnabled(level))
        {
            logger.CompanionSays(level, name, Encoding.ASCII.GetString(line));
        }
    }

    /// <summary>OP-TEE's lines begin with their own level: <c>E/TC:0 0 …</c>.</summary>
    private static LogLevel LevelOf(ReadOnlySpan<byte> line) => line switch
    {
        [(byte)'E', (byte)'/', ..] => LogLevel.Error,
        [(byte)'D', (byte)'/', ..] => LogLevel.Debug,
        [(byte)'F', (byte)'/', ..] => LogLevel.Trace,
        _ => LogLevel.Information,
    };
}
