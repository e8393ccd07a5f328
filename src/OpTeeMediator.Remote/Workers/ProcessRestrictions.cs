using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Remote.Workers;

/// <summary>What a worker process takes from itself before it reads anything of its VM's.</summary>
internal static unsafe class ProcessRestrictions
{
    /// <summary>Applies them: they cannot be undone.</summary>
    /// <exception cref="SystemCallException">The kernel refused one.</exception>
    /// <exception cref="TeeUnavailableException">A filter of system calls is required, and there is none.</exception>
    public static void Apply(WorkerSettings settings, ILogger log)
    {
        // A program with more privileges that this process might start does not get them.
        Check(LibC.ControlProcess(LibC.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");

        // No core dump has secrets, and no process of the same user may look into this one: another VM's, for example.
        Check(LibC.ControlProcess(LibC.PR_SET_DUMPABLE, 0, 0, 0, 0), "PR_SET_DUMPABLE");
        Limit(LibC.RLIMIT_CORE, 0, "RLIMIT_CORE");
        Limit(LibC.RLIMIT_NOFILE, (nuint)settings.MaximumFiles, "RLIMIT_NOFILE");
        if (SystemCallFilter.TryApply(settings.MayStartPrograms) is not { } reason)
        {
            return;
        }

        if (settings.RequiresFilter)
        {
            throw new TeeUnavailableException($"The filter of system calls that the server requires: {reason}.");
        }

        log.WorkerUnfiltered(settings.Partition, reason);
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
