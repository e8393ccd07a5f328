using OpTeeMediator.Calls;
using OpTeeMediator.ExplorationTests.Machines;
using OpTeeMediator.ExplorationTests.Scheduling;
using OpTeeMediator.Testing;

namespace OpTeeMediator.ExplorationTests;

/// <summary>Whole calls of a VM, through the core's own code from the SMC to the backend.</summary>
internal static class CallScenarios
{
    private static readonly TimeSpan Long = TimeSpan.FromHours(1);

    /// <summary>Two vCPUs make calls with what a third takes away: a buffer, then the session.</summary>
    public static Scenario Drain()
    {
        ExploredVm vm = new(3, Long);
        void Remove()
        {
            GuestMessage unregistered = vm.Cpu(2).Unregister(ExploredVm.Cookie);
            GuestMessage closed = vm.Cpu(2).CloseSession(vm.Session);
            if (unregistered.ReturnCode != 0 || closed.ReturnCode != 0)
            {
                Explorer.Fail("What the guest has was not taken away.");
            }
        }

        return new(
            () => Require(vm.IsEmpty, "Something is left."),
            () => vm.Invoke(0, mayStayUnanswered: false), () => vm.Invoke(1, mayStayUnanswered: false), Remove)
        {
            Steps = 120,
        };
    }

    /// <summary>A driver starts again while two vCPUs begin calls of the earlier one.</summary>
    public static Scenario Restart()
    {
        ExploredVm vm = new(2, Long);
        return new(
            () => Require(vm.IsEmpty, "Something is left."),
            () => vm.Invoke(0, mayStayUnanswered: true), () => vm.Invoke(1, mayStayUnanswered: true),
            () => Restart(vm))
        {
            StartedThreads = 1,
            Steps = 150,
        };
    }

    /// <summary>A driver starts again while one call lasts, and another begins; nobody resumes the first.</summary>
    public static Scenario Teardown()
    {
        ExploredVm vm = new(2, TimeSpan.Zero);
        bool hasStarted = false;
        void Start()
        {
            _ = vm.Cpu(0).Start(vm.Invocation(ExploredBackend.Lasting));
            hasStarted = true;
        }

        void End()
        {
            Explorer.WaitUntil(() => hasStarted || vm.Backend.Operation is not null, "operation or refusal");
            vm.Backend.Operation?.End();
        }

        return new(
            () => Require(vm.IsEmpty, "Something is left."),
            Start, () => vm.Invoke(1, mayStayUnanswered: true), () => Restart(vm), End)
        {
            StartedThreads = 1,
            Steps = 150,
        };
    }

    // As a guest's OP-TEE does at EXCHANGE_CAPABILITIES; then the VM is destroyed.
    private static void Restart(ExploredVm vm)
    {
        DriverInstance earlier = vm.Calls.DriverInstance;
        vm.Calls.DriverInstance = vm.Teardown.Next();
        vm.Teardown.Begin(earlier);
        _ = earlier.WaitUntilFreed(Long);
        vm.Teardown.Stop();
    }

    private static void Require(bool condition, string otherwise)
    {
        if (!condition)
        {
            throw new InvalidOperationException(otherwise);
        }
    }
}
