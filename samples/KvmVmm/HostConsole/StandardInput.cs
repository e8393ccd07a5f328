using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KvmVmm.HostConsole;

/// <summary>The process's standard input, which another process may read too.</summary>
/// <remarks>Not Console.OpenStandardInput: on a terminal that one edits lines.</remarks>
/// <param name="file">The file that it is.</param>
internal sealed partial class StandardInput(SafeFileHandle file) : IDisposable
{
    private readonly FileStream _stream = new(file, FileAccess.Read, bufferSize: 0);

    /// <summary>The process's own.</summary>
    public static StandardInput Open() => new(new SafeFileHandle(0, ownsHandle: false));

    /// <summary>Waits until there is something to read, or the end.</summary>
    /// <param name="timeout">How long at most.</param>
    /// <returns>Whether there is.</returns>
    public bool WaitUntilReadable(TimeSpan timeout)
    {
        int descriptor = (int)_stream.SafeFileHandle.DangerousGetHandle();
        PollEntry entry = new() { Descriptor = descriptor, Events = PollEntry.In };
        return Poll(ref entry, 1, (int)timeout.TotalMilliseconds) > 0;
    }

    /// <summary>Reads what there is.</summary>
    /// <param name="destination">Receives it.</param>
    /// <returns>The number of bytes; 0 at the end.</returns>
    public int Read(Span<byte> destination) => _stream.Read(destination);

    /// <inheritdoc/>
    public void Dispose() => _stream.Dispose();

    [LibraryImport("libc", EntryPoint = "poll")]
    private static partial int Poll(ref PollEntry entries, nuint count, int timeout);
}
