using System.ComponentModel;
using System.Runtime.InteropServices;
using OpTeeMediator.BenchmarkTests.Code;
using OpTeeMediator.Benchmarks.Check;

namespace OpTeeMediator.BenchmarkTests;

/// <summary>The machine code of a call's path: every instruction that one call executes between the entry of
/// <see cref="Smccc.ISmcHandler.Handle"/> and its return, in code as a VMM runs it.</summary>
/// <remarks>The path consists of the product's own methods, compiled by the tiered compiler, one method of the
/// framework that copies memory, stubs by which methods are called, and the parts of the runtime's native code that
/// <see cref="RuntimeProbe"/> uses. All else fails: so there is no allocation, no boxing, no exception and no lock
/// of the runtime, whatever they are called.</remarks>
[TestFixture]
[NonParallelizable]
public class HotPathTests
{
    private static readonly TimeSpan Deadline = TimeSpan.FromMinutes(3);

    private static IEnumerable<KnownFault> Faults => Enum.GetValues<KnownFault>();

    [TestCase("FastCall")]
    [TestCase("InvokeFourValues")]
    [TestCase("InvokeFourMemrefs16Buffers")]
    public void Handle_CallAnsweredAtOnce_ExecutesNothingThatAllocatesOrThrows(string scenario)
    {
        ExecutedCall call = Follow(scenario, "OpTeeMediator.Guests.OpTeeGuest");
        int locked = BudgetCheck.ReadBudgets()[scenario].LockedInstructions!.Value;
        TestContext.Out.WriteLine($"{call.Count} instructions, {call.Locked.Count()} of them locked, in");
        TestContext.Out.WriteLine(string.Join(Environment.NewLine, call.Shares));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(call.FindForeign(), Is.Empty);
            Assert.That(
                call.Locked.Count(), Is.LessThanOrEqualTo(locked),
                string.Join(Environment.NewLine, call.Locked.Select(one => $"{one.Instruction} in {one.Code?.Name}")));
        }
    }

    [TestCaseSource(nameof(Faults))]
    public void Handle_KnownFault_IsFound(object fault)
    {
        ExecutedCall call = Follow(fault.ToString()!, typeof(FaultyHandler).FullName!);
        TestContext.Out.WriteLine(call.FindForeign().FirstOrDefault());
        Assert.That(call.FindForeign(), Is.Not.Empty);
    }

    private static ExecutedCall Follow(string scenario, string handler)
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            Assert.Ignore($"This is about x86-64, this machine is {RuntimeInformation.ProcessArchitecture}.");
        }

        using ObservedProcess process = new(scenario);
        try
        {
            return process.FollowFinalCall(handler, Deadline);
        }
        catch (Win32Exception exception) when (exception.NativeErrorCode == TracedThread.NotPermitted)
        {
            Assert.Ignore("This host does not let a process observe another one (ptrace).");
            throw;
        }
    }
}
