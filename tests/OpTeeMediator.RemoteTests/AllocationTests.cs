using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.RemoteTests;

/// <summary>The steady state of calls allocates nothing, on any thread of the client and of the server.</summary>
[NonParallelizable]
[TestFixture(TeeExecution.Inline)]
[TestFixture(TeeExecution.Worker)]
internal sealed class AllocationTests(TeeExecution execution)
{
    private const int Rounds = 500;
    private const int Attempts = 10;

    private ScriptedBackend _backend = null!;
    private RemoteBench _bench = null!;

    [SetUp]
    public void SetUp()
    {
        _backend = new ScriptedBackend { Execution = execution, MemoryExecution = execution };
        _bench = new RemoteBench(_backend);
    }

    [TearDown]
    public async Task TearDown()
    {
        await _bench.DisposeAsync();
        await _backend.DisposeAsync();
    }

    [Test]
    public void Invoke_WithValues_AllocatesNothing()
    {
        _backend.OnInvoke = static request =>
        {
            request.SetValue(0, 1, 2);
            return new(TeeResult.Success);
        };

        AssertNoAllocation(GuestParameter.ValueInOut(1, 2), GuestParameter.ValueIn(3, 4));
    }

    [Test]
    public void Invoke_WithRegisteredMemory_AllocatesNothing()
    {
        _backend.OnInvoke = Copy;
        _ = _bench.Driver.Register(_bench.Driver.AllocatePages(4, 2), 0, 16384, 0x55);

        AssertNoAllocation(GuestParameter.RegisteredInOut(100, 12000, 0x55));
    }

    [Test]
    public void Invoke_WithTemporaryMemory_AllocatesNothing()
    {
        _backend.OnInvoke = Copy;
        ulong list = _bench.Driver.WritePageList(_bench.Driver.AllocatePages(4, 2));

        AssertNoAllocation(new GuestParameter(
            OpTeeMessage.TypeTemporaryInOut | OpTeeMessage.AttributeNonContiguous, list, 12000, 1));
    }

    [Test]
    public void Invoke_WithCallToTheGuest_AllocatesNothing()
    {
        _backend.OnInvoke = AskAsync;

        AssertNoAllocation();
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private static async ValueTask<TeeResult> AskAsync(TeeRequest request) =>
        TeeResult.FromTee(await request.Guest!.SuspendAsync(TimeSpan.Zero));

    private static ValueTask<TeeResult> Copy(TeeRequest request)
    {
        Span<byte> bytes = stackalloc byte[12000];
        TeeParameter parameter = request.Parameters[0];
        bool isDone = parameter.TryRead(0, bytes) && parameter.TryWrite(0, bytes);
        return new(isDone ? TeeResult.Success : TeeResult.FromTee(TeeReturnCode.Generic));
    }

    private void AssertNoAllocation(params GuestParameter[] parameters)
    {
        uint session = _bench.Open();
        GuestMessage message = new(OpTeeMessage.CommandInvoke, parameters) { Session = session };
        ulong page = _bench.Driver.MessagePage;
        _bench.Driver.WriteMessage(page, message);
        ulong rpc = page + (ulong)OpTeeMessage.Size(parameters.Length);
        long least = long.MaxValue;
        Invoke(page, rpc);

        // The runtime's own threads allocate now and then; a call that did would show in every attempt.
        for (int attempt = 0; attempt < Attempts && least != 0; attempt++)
        {
            long before = GC.GetTotalAllocatedBytes(precise: true);
            for (int round = 0; round < Rounds; round++)
            {
                Invoke(page, rpc);
            }

            least = Math.Min(least, (GC.GetTotalAllocatedBytes(precise: true) - before) / Rounds);
        }

        Assert.That(least, Is.Zero, "bytes per call");
        Assert.That(_bench.Driver.ReadMessage(page, 0).ReturnCode, Is.Zero);
    }

    private void Invoke(ulong page, ulong rpc)
    {
        SmcRegisters registers = _bench.Driver.Start(page, 0, 0);
        while ((uint)registers.X0 != OpTeeSmc.ReturnOk)
        {
            if ((uint)registers.X0 == OpTeeSmc.ReturnRpcCommand)
            {
                const ulong ReturnCodeOffset = 20;
                _bench.Driver.Write<uint>(rpc + ReturnCodeOffset, [0u]);
            }

            registers = _bench.Driver.Call(
                OpTeeSmc.ReturnFromRpc, registers.X1, registers.X2, registers.X3);
        }
    }
}
