using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Testing.Supplied;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Guests;

/// <summary>Each method that the VMM supplies fails at each of its calls: nothing is lost, and the next driver and
/// the next guest work.</summary>
[Parallelizable(ParallelScope.All)]
internal sealed class SuppliedPartTests
{
    private const string ExecutionOf = "ExecutionOf";

    // Without them no guest is created, and the VMM gets the exception.
    private static readonly string[] s_needed =
    [
        nameof(IInterruptLine.Spi), nameof(ITeeBackend.DefaultAccess), nameof(ITeeBackend.CreatePartition),
        nameof(ITeePartition.Execution),
        nameof(ITeePartition.Devices),
    ];

    private static readonly string[] s_methods =
    [
        .. s_needed, nameof(IGuestMemory.TryRead), nameof(IGuestMemory.TryWrite), nameof(IGuestMemory.TryPin),
        nameof(IGuestMemory.Unpin),
        nameof(IMappedGuestMemory.TryGetWindow), nameof(IMappedGuestMemory.TryGetHostAddress),
        nameof(IFileBackedGuestMemory.MappingGranule),
        nameof(IFileBackedGuestMemory.TryGetFile), "CreateLogger", "IsEnabled", "Log",
        ExecutionOf, nameof(ITeePartition.Cancel),
    ];

    private static readonly string[] s_asyncMethods =
    [
        nameof(ITeePartition.OpenSessionAsync), nameof(ITeePartition.RegisterMemoryAsync),
        nameof(ITeePartition.UnregisterMemoryAsync),
        nameof(ITeePartition.ResetAsync), nameof(IAsyncDisposable.DisposeAsync), nameof(ITeeSession.InvokeCommandAsync),
        nameof(ITeeSession.CloseAsync),
    ];

    // Called or not, as it happens; NonThrowingInterruptLineTests and NonThrowingLoggerTests have them fail.
    private static readonly string[] s_others = [nameof(IInterruptLine.Pulse), "BeginScope", "Scope.Dispose"];

    public static IEnumerable<TestCaseData> Cases =>
        from execution in Enum.GetValues<TeeExecution>()
        from method in s_methods.Concat(s_asyncMethods)
        from failure in s_asyncMethods.Contains(method) ? Enum.GetValues<Failure>() : [Failure.Throws]
        select new TestCaseData(method, failure, execution);

    [TestCaseSource(nameof(Cases))]
    public async Task SuppliedMethod_FailsAtEachOfItsCalls_NothingIsLost(
        string method, Failure failure, TeeExecution execution)
    {
        int calls = (await CountCallsAsync(execution)).GetValueOrDefault(method);
        for (int number = 1; number <= calls; number++)
        {
            FailurePlan plan = new(method, number, failure);
            using SuppliedConversation conversation = new(plan, execution);
            await conversation.RunAsync();
            Assert.That(conversation.WasRefused, Is.EqualTo(s_needed.Contains(method)), $"Call {number}.");
            Assert.That(plan.HasFailed || number > 1, "The call should have failed.");
        }

        Assert.That(calls, Is.Positive, "The conversation should use the method.");
    }

    [Test]
    public async Task Conversation_NothingFails_UsesNoOtherSuppliedMethod([Values] TeeExecution execution) =>
        Assert.That((await CountCallsAsync(execution)).Keys,
            Is.SubsetOf(s_methods.Concat(s_asyncMethods).Concat(s_others)));

    private static async Task<Dictionary<string, int>> CountCallsAsync(TeeExecution execution)
    {
        FailurePlan plan = new();
        using SuppliedConversation conversation = new(plan, execution);
        await conversation.RunAsync();
        return new Dictionary<string, int>(plan.Calls);
    }
}
