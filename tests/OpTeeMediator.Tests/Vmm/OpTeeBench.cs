using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Tests.Linux;
using OpTeeMediator.Tests.Rpc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Vmm;

/// <summary>An <see cref="IGuestOpTee"/> over a fake TEE, and a guest that makes calls as a stock driver
/// does.</summary>
internal abstract class OpTeeBench : IAsyncDisposable
{
    /// <summary>How long an implementation may wait for its TEE: longer than any test takes.</summary>
    protected static readonly TimeSpan LongEnough = TimeSpan.FromMinutes(5);

    private int _entries;

    public abstract IGuestOpTee OpTee { get; }

    /// <summary>What has been logged.</summary>
    public abstract ListLoggerFactory Log { get; }

    /// <summary>The guest's interrupt.</summary>
    public CountingLine Line { get; } = new();

    /// <summary>How often the TEE has begun a call of the guest, or gone on with one.</summary>
    public int Entries => Volatile.Read(ref _entries);

    /// <summary>What happens inside the TEE when it is entered.</summary>
    public Action InTee { get; set; } = () => { };

    /// <summary>Whether the TEE gives each new call back once.</summary>
    public bool Suspends { get; set; }

    public static OpTeeBench Create(HandlerKind kind) => kind switch
    {
        HandlerKind.Guest => new MediatedBench(),
        HandlerKind.Forwarder => new ForwardedBench(),
        _ => new CompanionContractBench(),
    };

    /// <summary>The registers of a call for which the TEE is entered, and which succeeds.</summary>
    public abstract SmcRegisters NewCall();

    /// <summary>Prepares the TEE to raise the guest's interrupt.</summary>
    /// <returns>Raises it; a VM that is being paused may be waiting for that.</returns>
    public abstract Action PrepareInterrupt();

    public abstract ValueTask DisposeAsync();

    /// <summary>Makes a call. One that is to be made again is left as it was.</summary>
    public SmcOutcome Make(ref SmcRegisters registers)
    {
        SmcRegisters before = registers;
        SmcOutcome outcome = OpTee.Handle(ref registers);
        if (outcome.Kind == SmcOutcomeKind.Retry)
        {
            Assert.That(registers[..8].ToArray(), Is.EqualTo(before[..8].ToArray()));
        }

        return outcome;
    }

    /// <summary>Makes a call with these registers, and again and again until it has ended; returns x0.</summary>
    public uint Finish(SmcRegisters registers)
    {
        while (true)
        {
            SmcOutcome outcome = Make(ref registers);
            if (outcome.Kind == SmcOutcomeKind.Handled && !OpTeeRegisters.IsRpc((uint)registers.X0))
            {
                return (uint)registers.X0;
            }

            registers = Next(outcome, registers);
        }
    }

    /// <summary>The registers of the guest's next call, after one that did not end its request.</summary>
    public static SmcRegisters Next(SmcOutcome outcome, SmcRegisters registers)
    {
        if (outcome.Kind == SmcOutcomeKind.Handled)
        {
            Assert.That(OpTeeRegisters.IsRpc((uint)registers.X0), $"0x{registers.X0:x} ends the call.");
            registers.X0 = OpTeeSmc.ReturnFromRpc;
        }

        return registers;
    }

    /// <summary>The TEE is entered.</summary>
    protected void EnterTee()
    {
        _ = Interlocked.Increment(ref _entries);
        InTee();
    }
}
