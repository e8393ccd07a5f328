namespace OpTeeMediator.Litmus;

/// <summary>A few operations of the product on two threads, and which pair of what they see may not occur.</summary>
/// <remarks>What the threads call is without any synchronisation of the test's own.</remarks>
/// <param name="Name">By which docs/memory-order.md names it.</param>
/// <param name="Prepare">Makes the state of a round, while no thread uses it.</param>
/// <param name="First">What the first thread does, and what it has seen.</param>
/// <param name="Second">What the second one does, and what it has seen.</param>
/// <param name="IsForbidden">Whether the two may not have seen this.</param>
internal sealed record LitmusTest(
    string Name, Action Prepare, Func<int> First, Func<int> Second, Func<int, int, bool> IsForbidden)
{
    /// <summary>Whether the test shows what its fences are for on processors that let a read overtake an earlier write
    /// but reorder nothing else, such as x86-64: a control run without them sees what is forbidden.</summary>
    public bool IsShownByStoreBuffers { get; init; }
}
