using System.Runtime.InteropServices;

namespace KvmVmm.HostConsole;

/// <summary>Standard input as a terminal in raw mode, until this object is disposed of.</summary>
internal sealed partial class RawTerminal : IDisposable
{
    private const int StandardInput = 0;

    // TCSAFLUSH: after what was written has been sent, and without what was typed before.
    private const int AfterOutput = 2;

    private readonly TerminalSettings _original;

    private RawTerminal(TerminalSettings original) => _original = original;

    /// <summary>Makes the terminal raw.</summary>
    /// <returns>The terminal, or <see langword="null"/> if standard input is none.</returns>
    public static RawTerminal? TryEnter()
    {
        if (GetSettings(StandardInput, out TerminalSettings original) != 0)
        {
            return null;
        }

        TerminalSettings raw = original;
        MakeRaw(ref raw);

        // The VMM's own messages end in a line feed only.
        raw.OutputFlags = original.OutputFlags;
        return SetSettings(StandardInput, AfterOutput, raw) == 0 ? new RawTerminal(original) : null;
    }

    /// <summary>Gives it back as it was.</summary>
    public void Dispose() => _ = SetSettings(StandardInput, AfterOutput, _original);

    [LibraryImport("libc", EntryPoint = "tcgetattr")]
    private static partial int GetSettings(int fileDescriptor, out TerminalSettings settings);

    [LibraryImport("libc", EntryPoint = "tcsetattr")]
    private static partial int SetSettings(int fileDescriptor, int when, in TerminalSettings settings);

    [LibraryImport("libc", EntryPoint = "cfmakeraw")]
    private static partial void MakeRaw(ref TerminalSettings settings);
}
