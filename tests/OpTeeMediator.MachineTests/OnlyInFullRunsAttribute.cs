using NUnit.Framework.Interfaces;
using NUnit.Framework.Internal;

namespace OpTeeMediator.MachineTests;

/// <summary>What takes many minutes, or what another test shows in a similar way: only with
/// <c>tests/run --full</c>.</summary>
[AttributeUsage(AttributeTargets.Class | AttributeTargets.Method)]
internal sealed class OnlyInFullRunsAttribute : NUnitAttribute, IApplyToTest
{
    public void ApplyToTest(Test test)
    {
        if (!MachineFixture.IsFull && test.RunState == RunState.Runnable)
        {
            test.RunState = RunState.Ignored;
            test.Properties.Set(PropertyNames.SkipReason, "Only with tests/run --full.");
        }
    }
}
