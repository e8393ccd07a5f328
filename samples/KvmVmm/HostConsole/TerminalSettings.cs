using System.Runtime.InteropServices;

namespace KvmVmm.HostConsole;

/// <summary>The C library's <c>struct termios</c>, of which only one field is used by name.</summary>
[StructLayout(LayoutKind.Explicit, Size = 128)]
internal struct TerminalSettings
{
    /// <summary>c_oflag.</summary>
    [FieldOffset(4)]
    public uint OutputFlags;
}
