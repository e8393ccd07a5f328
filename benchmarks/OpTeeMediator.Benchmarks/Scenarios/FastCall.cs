using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Benchmarks.Scenarios;

/// <summary>GET_THREAD_COUNT.</summary>
public sealed class FastCall : Scenario, ISingleCall
{
    private readonly Bench _bench = new(new ScriptedBackend(), 1);
    private readonly SmcRegisters _call = Bench.Registers(OpTeeSmc.GetThreadCount, 0, 0);

    public ISmcHandler Handler => _bench.Guest;

    public SmcRegisters Registers => _call;

    public override void Run(int operations)
    {
        for (int count = 0; count < operations; count++)
        {
            Bench.Call(_bench.Guest, _call);
        }
    }

    protected override void Dispose(bool disposing)
    {
        _bench.Dispose();
        base.Dispose(disposing);
    }
}
