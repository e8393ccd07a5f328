using System.Collections.Immutable;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Tests.Linux;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Companion;

/// <summary>A companion over fake VMs, and a guest that calls it as KVM would let it.</summary>
internal sealed class CompanionBench : IAsyncDisposable
{
    private readonly Func<int, FakeVm> _make;
    private int _made;

    public CompanionBench(
        OpTeeCompanionOptions? options = null, Func<int, FakeVm>? make = null,
        params ImmutableArray<GuestRange> guestMemory)
    {
        _make = make ?? (_ => new FakeVm(2));
        Companion = OpTeeCompanion.Start(
            Setup((options ?? Options()) with { LoggerFactory = Log }, _ => MakeVm(), guestMemory));

        // Another vCPU's thread takes the first core, so that the test's has the second.
        Thread other = new(() => Call(OpTeeSmc.CallsCount));
        other.Start();
        other.Join();
    }

    public ListLoggerFactory Log { get; } = new();

    /// <summary>The guest's interrupt, as OP-TEE's machine raises it.</summary>
    public IInterruptLine? Line => Vms[^1].Line;

    /// <summary>The VMs, the present one last.</summary>
    public List<FakeVm> Vms { get; } = [];

    public OpTeeCompanion Companion { get; }

    /// <summary>The present VM's cores.</summary>
    public FakeCpu this[int core] => Vms[^1].Fakes[core];

    /// <summary>Options with an image that nobody looks at.</summary>
    public static OpTeeCompanionOptions Options() =>
        new() { Image = ImageFiles.Raw(new byte[64]), AnswerDeadline = TimeSpan.FromMilliseconds(500) };

    /// <summary>What a companion in fake VMs is made of.</summary>
    public static CompanionSetup Setup(
        OpTeeCompanionOptions options, Func<MemfdGuestMemory?, ICompanionVm> make,
        params ImmutableArray<GuestRange> guestMemory) => new(options, guestMemory, (copied, _) => make(copied));

    /// <summary>Makes a call, loading registers only as they are asked for.</summary>
    public SmcRegisters Call(uint functionId, params ulong[] arguments) => Call(functionId, out _, out _, arguments);

    /// <summary>Makes a call, loading registers only as they are asked for.</summary>
    public SmcRegisters Call(
        uint functionId, out SmcRegisterSet loaded, out SmcOutcome outcome, params ulong[] arguments)
    {
        SmcRegisters registers = default;
        registers.X0 = functionId;
        loaded = SmcRegisterSet.X0;
        outcome = Companion.Handle(ref registers, loaded);
        while (outcome.Kind is SmcOutcomeKind.NeedsRegisters or SmcOutcomeKind.Retry)
        {
            if (outcome.Kind == SmcOutcomeKind.Retry)
            {
                // The guest makes the call again.
                outcome = Companion.Handle(ref registers, loaded);
                continue;
            }

            SmcRegisterSet missing = outcome.Registers.Except(loaded);
            Assert.That(missing.IsEmpty, Is.False);
            loaded = loaded.Union(missing);
            while (SmcRegisterSet.TryTakeFirst(ref missing, out int index))
            {
                registers[index] = index <= arguments.Length ? arguments[index - 1] : 0;
            }

            outcome = Companion.Handle(ref registers, loaded);
        }

        return registers;
    }

    public ValueTask DisposeAsync() => Companion.DisposeAsync();

    private FakeVm MakeVm()
    {
        Vms.Add(_make(_made++));
        return Vms[^1];
    }
}
