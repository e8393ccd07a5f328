using OpTeeMediator.Testing.Forwarding;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>Tests with a new fake OP-TEE each.</summary>
internal abstract class ForwarderFixture
{
    protected const uint BadParameters = FakeOpTee.BadParameters;

    /// <summary>A cookie that differs from <see cref="ForwarderBench.Cookie"/>.</summary>
    protected const ulong OtherCookie = 0xffff_0000_0938_5b40;

    private ForwardedVm? _vm;

    protected ForwarderBench Bench { get; private set; } = null!;

    /// <summary>A VM with default options, created when first used.</summary>
    protected ForwardedVm Vm => _vm ??= Bench.Create();

    /// <summary>How many yielding calls OP-TEE has got.</summary>
    protected int YieldingCalls => Bench.OpTee.Calls.Count(call => !call.FunctionId.IsFast);

    [SetUp]
    public void CreateBench()
    {
        Bench = new ForwarderBench();
        _vm = null;
    }
}
