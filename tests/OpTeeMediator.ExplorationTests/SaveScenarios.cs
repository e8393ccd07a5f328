using OpTeeMediator.ExplorationTests.Machines;
using OpTeeMediator.ExplorationTests.Scheduling;

namespace OpTeeMediator.ExplorationTests;

/// <summary>A VM is saved and restored in another process, which goes on with its calls.</summary>
internal static class SaveScenarios
{
    /// <summary>Operations end before; new ones are held, and begin where the VM is restored.</summary>
    public static Scenario Drained() => Move(drains: true);

    /// <summary>Operations that have begun are dropped: their clients are told, and they begin nowhere again.</summary>
    public static Scenario AtOnce() => Move(drains: false);

    /// <summary>A driver starts again meanwhile: what the earlier one has left stays behind, and goes.</summary>
    public static Scenario WithRestart()
    {
        MovingVm vm = new();
        int ended = 0;
        void Guest(Action work)
        {
            work();
            ended++;
        }

        void MoveAndEnd()
        {
            vm.Move(drains: true);
            Explorer.WaitUntil(() => ended == 3, "end of the guest's threads");
            vm.Dispose();
        }

        return new(() => Require(vm.IsComplete, "Something is lost or left."),
            () => Guest(() => vm.InvokeForEndingDriver(0)), () => Guest(() => vm.InvokeForEndingDriver(1)),
            () => Guest(() => vm.RestartAndInvoke(mayDie: false)), MoveAndEnd)
        {
            StartedThreads = 6,
            Steps = 500,
        };
    }

    private static Scenario Move(bool drains)
    {
        MovingVm vm = new();
        int ended = 0;
        void Invoke(int thread)
        {
            vm.Invoke(thread, mayDie: !drains);
            ended++;
        }

        void Cancel()
        {
            vm.Cancel(1);
            ended++;
        }

        void MoveAndEnd()
        {
            vm.Move(drains);
            Explorer.WaitUntil(() => ended == 3, "end of the guest's threads");
            vm.Dispose();
        }

        return new(() => Require(vm.IsComplete, "Something is lost or left."),
            () => Invoke(0), () => Invoke(1), Cancel, MoveAndEnd)
        {
            // Of two VMs: two workers, and the thread that ends it.
            StartedThreads = 6,
            Steps = 400,
        };
    }

    private static void Require(bool condition, string otherwise)
    {
        if (!condition)
        {
            throw new InvalidOperationException(otherwise);
        }
    }
}
