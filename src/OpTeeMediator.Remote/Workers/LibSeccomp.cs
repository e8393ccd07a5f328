using System.Runtime.InteropServices;

namespace OpTeeMediator.Remote.Workers;

/// <summary>The functions of libseccomp 2 that <see cref="SystemCallFilter"/> needs.</summary>
internal static unsafe partial class LibSeccomp
{
    // seccomp.h: actions, attributes, comparisons.
    public const uint SCMP_ACT_ALLOW = 0x7fff0000;
    public const uint SCMP_ACT_ERRNO = 0x00050000;
    public const int SCMP_FLTATR_ACT_BADARCH = 2;
    public const int SCMP_FLTATR_CTL_TSYNC = 4;
    public const int SCMP_CMP_NE = 1;
    public const int SCMP_CMP_EQ = 4;
    public const int SCMP_CMP_GT = 6;
    public const int SCMP_CMP_MASKED_EQ = 7;
    public const int __NR_SCMP_ERROR = -1;

    private const string Library = "libseccomp.so.2";

    [LibraryImport(Library, EntryPoint = "seccomp_init")]
    public static partial nint Init(uint defaultAction);

    [LibraryImport(Library, EntryPoint = "seccomp_release")]
    public static partial void Release(nint context);

    [LibraryImport(Library, EntryPoint = "seccomp_attr_set")]
    public static partial int SetAttribute(nint context, int attribute, uint value);

    [LibraryImport(
        Library, EntryPoint = "seccomp_syscall_resolve_name", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int ResolveName(string name);

    [LibraryImport(Library, EntryPoint = "seccomp_rule_add_array")]
    public static partial int AddRule(
        nint context, uint action, int systemCall, uint count, SeccompComparison* comparisons);

    [LibraryImport(Library, EntryPoint = "seccomp_load")]
    public static partial int Load(nint context);
}
