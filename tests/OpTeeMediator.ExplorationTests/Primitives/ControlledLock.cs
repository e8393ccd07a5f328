using OpTeeMediator.ExplorationTests.Scheduling;

namespace OpTeeMediator;

/// <summary>What a lock statement of the core is in the prepared sources.</summary>
internal static class ControlledLock
{
    public static Scope Enter(object target)
    {
        Explorer.Enter(target);
        return new Scope(target);
    }

    internal readonly ref struct Scope(object target)
    {
        public void Dispose() => Explorer.Exit(target);
    }
}
