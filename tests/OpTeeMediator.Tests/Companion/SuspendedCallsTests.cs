using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Tests.Companion;

/// <summary>Which calls may be resumed, and with what.</summary>
[TestFixture]
internal sealed class SuspendedCallsTests
{
    [Test]
    public void TryResume_Twice_SucceedsOnce()
    {
        SuspendedCalls calls = new();
        calls.Note(OpTeeSmc.ReturnRpcForeignInterrupt, 1);

        Assert.That(calls.TryResume(1, hasArguments: false), Is.True);
        Assert.That(calls.TryResume(1, hasArguments: false), Is.False);
        Assert.That(calls.TryResume(1, hasArguments: true), Is.False);
    }

    [Test]
    public void TryResume_ByTheSlowerOfTwoVcpus_AnswersNoOtherRequest()
    {
        SuspendedCalls calls = new();
        calls.Note(OpTeeSmc.ReturnRpcForeignInterrupt, 1);
        bool slower = calls.TakesArguments(1);

        // The faster one resumes it, and it asks for memory.
        Assert.That(calls.TryResume(1, hasArguments: calls.TakesArguments(1)), Is.True);
        calls.Note(OpTeeSmc.ReturnRpcAllocate, 1);

        Assert.That(calls.TryResume(1, slower), Is.False);
        Assert.That(calls.TryResume(1, hasArguments: true), Is.True);
    }

    [Test]
    public void TryResume_UpperBits_NameTheSameCall()
    {
        SuspendedCalls calls = new();
        calls.Note(OpTeeSmc.ReturnRpcCommand, 2);

        Assert.That(calls.TakesArguments(0xffff_ffff_0000_0002), Is.False);
        Assert.That(calls.TryResume(0xffff_ffff_0000_0002, hasArguments: false), Is.True);
        Assert.That(calls.TryResume(2, hasArguments: false), Is.False);
    }
}
