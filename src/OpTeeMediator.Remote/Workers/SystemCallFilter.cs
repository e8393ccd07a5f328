using System.Runtime.InteropServices;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Remote.Workers;

/// <summary>The filter of system calls (seccomp) of a worker process.</summary>
/// <remarks>
/// A list of what is denied: the runtime, its updates and the applications' libraries decide which others they use. A
/// denied call fails with EPERM, as it does for want of a privilege, so that a library can go on without it.
/// </remarks>
internal static unsafe class SystemCallFilter
{
    private const uint Deny = LibSeccomp.SCMP_ACT_ERRNO | Errno.EPERM;

    // The C library uses clone instead, whose flags a filter can see.
    private const uint Absent = LibSeccomp.SCMP_ACT_ERRNO | Errno.ENOSYS;

    // socket.h: AF_UNIX, AF_INET, AF_INET6 (a database over TCP) and AF_NETLINK (the C library's look-up of names).
    private static readonly ulong[] Families = [1, 2, 10, 16];

    // keyctl.h: KEYCTL_DESCRIBE and KEYCTL_READ, for a root key in the kernel's keyring.
    private static readonly ulong[] KeyOperations = [6, 11];

    // sched.h: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
    private static readonly ulong[] NamespaceFlags =
        [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000];

    private static readonly string[] Denied =
    [
        // Other processes: workers of all VMs may have one user.
        "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "kcmp",
        "pidfd_getfd", "move_pages", "migrate_pages",

        // Large interfaces of the kernel that have had many faults and that .NET does not use.
        "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
        "add_key", "fanotify_init", "lookup_dcookie", "modify_ldt", "personality",

        // Namespaces and file systems.
        "unshare", "setns", "mount", "umount", "umount2", "move_mount", "open_tree", "open_tree_attr", "fsopen",
        "fsconfig", "fsmount", "fspick", "mount_setattr", "pivot_root", "chroot", "swapon", "swapoff", "quotactl",
        "quotactl_fd", "name_to_handle_at", "open_by_handle_at", "mknod", "mknodat",

        // The machine.
        "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot", "acct", "syslog",
        "settimeofday", "clock_settime", "clock_settime64", "clock_adjtime", "clock_adjtime64", "adjtimex", "stime",
        "sethostname", "setdomainname", "iopl", "ioperm", "vhangup",
    ];

    // The first argument of these is a process.
    private static readonly string[] Signals = ["kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"];

    private static readonly string[] Programs = ["execve", "execveat", "pidfd_send_signal"];

    /// <summary>Applies it to all threads of the process. It cannot be undone.</summary>
    /// <param name="mayStartPrograms">
    /// Whether the process may start programs and, as it must be able to end them, send signals to other processes.
    /// </param>
    /// <returns><see langword="null"/>, or why there is no filter.</returns>
    public static string? TryApply(bool mayStartPrograms)
    {
        try
        {
            nint context = LibSeccomp.Init(LibSeccomp.SCMP_ACT_ALLOW);
            if (context == 0)
            {
                return "libseccomp does not know this processor architecture, or has no memory";
            }

            try
            {
                return Apply(context, mayStartPrograms);
            }
            finally
            {
                LibSeccomp.Release(context);
            }
        }
        catch (DllNotFoundException)
        {
            return "the host has no libseccomp.so.2 (Debian's package libseccomp2)";
        }
        catch (EntryPointNotFoundException missing)
        {
            return $"the host's libseccomp is too old ({missing.Message})";
        }
    }

    private static string? Apply(nint context, bool mayStartPrograms)
    {
        int error = 0;
        Keep(ref error, LibSeccomp.SetAttribute(context, LibSeccomp.SCMP_FLTATR_CTL_TSYNC, 1));

        // The 32-bit calls of the processor.
        Keep(ref error, LibSeccomp.SetAttribute(context, LibSeccomp.SCMP_FLTATR_ACT_BADARCH, Deny));
        foreach (string name in Denied)
        {
            Keep(ref error, Add(context, Deny, name));
        }

        Keep(ref error, Add(context, Absent, "clone3"));
        foreach (ulong flag in NamespaceFlags)
        {
            Keep(ref error, Add(context, Deny, "clone", new(0, LibSeccomp.SCMP_CMP_MASKED_EQ, flag, flag)));
        }

        AddExcept(ref error, context, "socket", Families);
        AddExcept(ref error, context, "keyctl", KeyOperations);
        if (!mayStartPrograms)
        {
            foreach (string name in Programs)
            {
                Keep(ref error, Add(context, Deny, name));
            }

            // Musl sends its own threads signals with it, and the runtime needs those.
            if (!RuntimeInformation.RuntimeIdentifier.Contains("musl", StringComparison.Ordinal))
            {
                Keep(ref error, Add(context, Deny, "tkill"));
            }

            ulong self = (ulong)Environment.ProcessId;
            foreach (string name in Signals)
            {
                Keep(ref error, Add(context, Deny, name, new(0, LibSeccomp.SCMP_CMP_NE, self)));
            }

            // Zero is the process itself.
            Keep(ref error, Add(context, Deny, "prlimit64", new(0, LibSeccomp.SCMP_CMP_NE, 0)));
        }

        Keep(ref error, LibSeccomp.Load(context));
        return error == 0 ? null : $"libseccomp or the kernel refused it ({Errno.NameOf(-error)})";
    }

    // A library that does not know a name is older than the call.
    private static int Add(nint context, uint action, string name)
    {
        int number = LibSeccomp.ResolveName(name);
        return number == LibSeccomp.__NR_SCMP_ERROR ? 0 : LibSeccomp.AddRule(context, action, number, 0, null);
    }

    private static int Add(nint context, uint action, string name, SeccompComparison comparison)
    {
        int number = LibSeccomp.ResolveName(name);
        return number == LibSeccomp.__NR_SCMP_ERROR ? 0 : LibSeccomp.AddRule(context, action, number, 1, &comparison);
    }

    // Rules deny if any of them applies, hence one for each value.
    private static void AddExcept(ref int error, nint context, string name, ulong[] permitted)
    {
        ulong last = permitted[^1];
        for (ulong value = 0; value < last; value++)
        {
            if (!permitted.Contains(value))
            {
                Keep(ref error, Add(context, Deny, name, new(0, LibSeccomp.SCMP_CMP_EQ, value)));
            }
        }

        Keep(ref error, Add(context, Deny, name, new(0, LibSeccomp.SCMP_CMP_GT, last)));
    }

    private static void Keep(ref int error, int answer)
    {
        if (error == 0)
        {
            error = answer;
        }
    }
}
