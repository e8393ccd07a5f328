using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Remote.Workers;

/// <summary>What a worker process takes from itself before it reads anything of its VM's.</summary>
internal static unsafe class ProcessRestrictions
{
    /// <summary>Applies them: they cannot be undone.</summary>
    /// <exception cref="SystemCallException">The kernel refused one.</exception>
    public static void Apply(int maximumFiles)
    {
        // A program with more privileges that this process might start does not get them.
        Check(LibC.ControlProcess(LibC.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");

        // No core dump has secrets, and no process of the same user may look into this one: another VM's, for example.
        Check(LibC.ControlProcess(LibC.PR_SET_DUMPABLE, 0, 0, 0, 0), "PR_SET_DUMPABLE");
        Limit(LibC.RLIMIT_CORE, 0, "RLIMIT_CORE");
        Limit(LibC.RLIMIT_NOFILE, (nuint)maximumFiles, "RLIMIT_NOFILE");
    }

    private static void Limit(int resource, nuint value, string name)
    {
        ResourceLimit limit = default;
        Check(LibC.GetResourceLimit(resource, &limit), name);
        limit.Hard = nuint.Min(limit.Hard, value);
        limit.Soft = limit.Hard;
        Check(LibC.SetResourceLimit(resource, &limit), name);
    }

    private static void Check(int answer, string operation)
    {
        if (answer != 0)
        {
            throw new SystemCallException(
                $"{operation} of a TEE worker process", Errno.Last, "Without it the process does not serve a VM.");
        }
    }
}
