using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace OpTeeMediator.SoftwareTee.Linux;

/// <summary>What .NET has no class for.</summary>
internal static partial class LibC
{
    // uapi/linux/keyctl.h
    private const nint KEYCTL_DESCRIBE = 6;
    private const nint KEYCTL_READ = 11;

    // uapi/linux/stat.h and fcntl.h
    private const int AT_EMPTY_PATH = 0x1000;
    private const uint STATX_UID = 0x8;
    private const int StatxSize = 256;
    private const int StatxMask = 0;
    private const int StatxUid = 20;

    // asm/unistd.h: x86 has numbers of its own, all later architectures have the generic ones.
    private static readonly bool IsX64 = RuntimeInformation.ProcessArchitecture == Architecture.X64;
    private static readonly nint RequestKeyNumber = IsX64 ? 249 : 218;
    private static readonly nint KeyControlNumber = IsX64 ? 250 : 219;

    /// <summary>The user whose rights the process has.</summary>
    [LibraryImport("libc", EntryPoint = "geteuid")]
    public static partial uint GetEffectiveUser();

    /// <summary>Finds a key in the keyrings of the thread, the process and the session.</summary>
    /// <returns>Its serial number, or -1 with the last error set.</returns>
    public static int RequestKey(string type, string description) =>
        (int)SystemCall(RequestKeyNumber, type, description, 0, 0);

    /// <summary>Copies a key's content.</summary>
    /// <returns>Its length, which may exceed that of the buffer, or -1 with the last error set.</returns>
    public static int ReadKey(int serial, Span<byte> buffer) =>
        (int)SystemCall(KeyControlNumber, KEYCTL_READ, serial, buffer, buffer.Length, 0);

    /// <summary>Copies a key's description: type, user, group, permissions, name.</summary>
    /// <returns>The length of the text with its zero, or -1 with the last error set.</returns>
    public static int DescribeKey(int serial, Span<byte> buffer) =>
        (int)SystemCall(KeyControlNumber, KEYCTL_DESCRIBE, serial, buffer, buffer.Length, 0);

    /// <summary>Gets the user who owns an open file.</summary>
    /// <returns>Whether the kernel told it; otherwise the last error is set.</returns>
    public static bool TryGetOwner(SafeFileHandle file, out uint user)
    {
        Span<byte> status = stackalloc byte[StatxSize];
        int result = Statx(file, "", AT_EMPTY_PATH, STATX_UID, status);
        user = MemoryMarshal.Read<uint>(status[StatxUid..]);
        return result == 0 && (MemoryMarshal.Read<uint>(status[StatxMask..]) & STATX_UID) != 0;
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(SafeFileHandle folder, string path, int flags, uint mask, Span<byte> status);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint SystemCall(nint number, string type, string description, nint callout, nint keyring);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint SystemCall(
        nint number, nint operation, nint serial, Span<byte> buffer, nint length, nint unused);
}
