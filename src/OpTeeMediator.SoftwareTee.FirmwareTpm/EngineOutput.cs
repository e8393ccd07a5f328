using System.Text;

namespace OpTeeMediator.SoftwareTee.FirmwareTpm;

/// <summary>The end of what a process has written: enough for a message, however much it writes. Thread-safe.</summary>
internal sealed class EngineOutput
{
    private const int Limit = 1000;

    private readonly StringBuilder _tail = new();
    private readonly Lock _lock = new();

    /// <summary>Reads a stream to its end.</summary>
    public async Task ReadAsync(TextReader reader)
    {
        char[] piece = new char[256];
        try
        {
            int length;
            while ((length = await reader.ReadAsync(piece)) > 0)
            {
                lock (_lock)
                {
                    _ = _tail.Append(piece, 0, length);
                    _ = _tail.Remove(0, Math.Max(0, _tail.Length - Limit));
                }
            }
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException)
        {
            // The process has ended.
        }
    }

    public override string ToString()
    {
        lock (_lock)
        {
            const StringSplitOptions Trim = StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries;
            return string.Join("; ", _tail.ToString().Split('\n', Trim));
        }
    }
}
