using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Smccc;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Smccc;

[Parallelizable(ParallelScope.Children)]
internal sealed class RegisterTableTests
{
    [TestCaseSource(typeof(RegisterTable), nameof(RegisterTable.Rows))]
    public void Handle_AllRegistersLoaded_ChangesTheDocumentedOnesOnly(RegisterRow row)
    {
        using MemfdGuestMemory? _ = Prepare(row, out GuestBench bench, out SmcRegisters registers);
        SmcRegisters expected = With(registers, row.Return);

        SmcOutcome outcome = bench.Guest.Handle(ref registers, SmcRegisterSet.All);

        Assert.That(outcome, Is.EqualTo(SmcOutcome.Handled(row.Changes)));
        Assert.That(Values(registers), Is.EqualTo(Values(expected)));
    }

    [TestCaseSource(typeof(RegisterTable), nameof(RegisterTable.Rows))]
    public void Handle_NeededRegistersLoaded_AsksForNoMore(RegisterRow row)
    {
        using MemfdGuestMemory? _ = Prepare(row, out GuestBench bench, out SmcRegisters registers);
        registers = Masked(registers, row.Needs);
        SmcRegisters expected = With(registers, row.Return);

        SmcOutcome outcome = bench.Guest.Handle(ref registers, row.Needs);

        Assert.That(outcome, Is.EqualTo(SmcOutcome.Handled(row.Changes)));
        Assert.That(Values(registers), Is.EqualTo(Values(expected)));
    }

    // SMCCC 1.3: bit 16 says that the caller keeps no live SVE state.
    [TestCaseSource(typeof(RegisterTable), nameof(RegisterTable.Rows))]
    public void Handle_SveHint_AnswersAsWithout(RegisterRow row)
    {
        using MemfdGuestMemory? _ = Prepare(row, out GuestBench bench, out SmcRegisters registers);
        registers.X0 |= 1 << 16;
        SmcRegisters expected = With(registers, row.Return);

        SmcOutcome outcome = bench.Guest.Handle(ref registers, SmcRegisterSet.All);

        Assert.That(outcome, Is.EqualTo(SmcOutcome.Handled(row.Changes)));
        Assert.That(Values(registers), Is.EqualTo(Values(expected)));
    }

    // SMC32: arguments are W registers.
    [TestCaseSource(typeof(RegisterTable), nameof(RegisterTable.Rows))]
    public void Handle_UpperHalvesOfArguments_AreIgnored(RegisterRow row)
    {
        using MemfdGuestMemory? _ = Prepare(row, out GuestBench bench, out SmcRegisters registers);
        for (int index = 1; index < SmcRegisters.Count; index++)
        {
            registers[index] = (uint)registers[index] | 0xdead_beef_0000_0000;
        }

        SmcRegisters expected = With(registers, row.Return);

        SmcOutcome outcome = bench.Guest.Handle(ref registers, SmcRegisterSet.All);

        Assert.That(outcome, Is.EqualTo(SmcOutcome.Handled(row.Changes)));
        Assert.That(Values(registers), Is.EqualTo(Values(expected)));
    }

    [TestCaseSource(nameof(RowsThatNeedMore))]
    public void Handle_OnlyX0Loaded_AsksForTheDocumentedOnesWithoutEffect(RegisterRow row)
    {
        using MemfdGuestMemory? _ = Prepare(row, out GuestBench bench, out SmcRegisters registers);
        registers = Masked(registers, SmcRegisterSet.X0);
        ulong[] before = Values(registers);
        OpTeeGuestStatus status = bench.Guest.Status;

        SmcOutcome outcome = bench.Guest.Handle(ref registers, SmcRegisterSet.X0);

        Assert.That(outcome, Is.EqualTo(SmcOutcome.NeedsRegisters(row.Needs)));
        Assert.That(Values(registers), Is.EqualTo(before));
        Assert.That(bench.Guest.Status, Is.EqualTo(status));
    }

    [TestCase(0x8400_0000u, TestName = "PSCI")]
    [TestCase(0x8000_0000u, TestName = "SMCCC_VERSION")]
    [TestCase(0xc200_0000u, TestName = "SMC64")]
    [TestCase(0xf200_0000u, TestName = "SMC64 of the trusted OS")]
    [TestCase(0xff00_ff01u, TestName = "SMC64 of the trusted OS's identification")]
    [TestCase(0x7200_0004u, TestName = "yielding SMC64 of the trusted OS")]
    [TestCase(0x3f00_ff01u, TestName = "yielding call of owner 63")]
    [TestCase(0xb100_0000u, TestName = "owner 49")]
    [TestCase(0x3300_0004u, TestName = "owner 51")]
    [TestCase(0xb202_0001u, TestName = "bit 17")]
    [TestCase(0xb280_0001u, TestName = "bit 23")]
    [TestCase(0x3203_0004u, TestName = "bits 16 and 17")]
    public async Task Handle_NotOurs_NotHandledAndUntouched(uint functionId)
    {
        await using GuestBench bench = new();
        SmcRegisters registers = Sentinels(functionId);
        ulong[] before = Values(registers);

        SmcOutcome outcome = bench.Guest.Handle(ref registers, SmcRegisterSet.All);

        Assert.That(outcome, Is.EqualTo(SmcOutcome.NotHandled));
        Assert.That(Values(registers), Is.EqualTo(before));
    }

    [Test]
    public async Task Ranges_EveryOwnerAndCallType_AreWhatIsHandled()
    {
        await using GuestBench bench = new();

        Assert.That(HandledAmong(bench.Guest, Grid), Is.EqualTo(Grid.Where(id => IsPublished(bench.Guest, id))));
    }

    [Test]
    public async Task Handle_AfterDisposal_NotSupported()
    {
        GuestBench bench = new();
        await bench.DisposeAsync();
        SmcRegisters registers = Sentinels(0xb200_0001);
        SmcRegisters expected = With(registers, new Dictionary<int, ulong> { [0] = SmcccReturn.NotSupported });

        SmcOutcome outcome = bench.Guest.Handle(ref registers, SmcRegisterSet.All);

        Assert.That(outcome, Is.EqualTo(SmcOutcome.Handled(SmcRegisterSet.X0)));
        Assert.That(Values(registers), Is.EqualTo(Values(expected)));
    }

    [Test]
    public async Task Ranges_AfterDisposal_AreStillWhatIsHandled()
    {
        GuestBench bench = new();
        await bench.DisposeAsync();

        Assert.That(HandledAmong(bench.Guest, Grid), Is.EqualTo(Grid.Where(id => IsPublished(bench.Guest, id))));
    }

    private static IEnumerable<RegisterRow> RowsThatNeedMore =>
        RegisterTable.Rows.Where(row => row.Needs != SmcRegisterSet.X0);

    /// <summary>
    /// Every call type, convention and owner; of the reserved bits none, the lowest, the highest; of the numbers both
    /// ends and some between.
    /// </summary>
    private static uint[] Grid { get; } =
    [
        .. from top in Enumerable.Range(0, 256)
           from middle in (uint[])[0, 1, 2, 0x80]
           from low in (uint[])[0, 1, 4, 0x13, 0xff00, 0xff01, 0xffff]
           select ((uint)top << 24) | (middle << 16) | low,
    ];

    private static IEnumerable<uint> HandledAmong(OpTeeGuest guest, IEnumerable<uint> ids) => ids.Where(id =>
    {
        SmcRegisters registers = default;
        registers.X0 = id;
        return guest.Handle(ref registers, SmcRegisterSet.All).Kind == SmcOutcomeKind.Handled;
    });

    private static bool IsPublished(OpTeeGuest guest, uint id) =>
        guest.Ranges.Any(range => range.Contains(new SmcFunctionId(id)));

    // The memory is disposed of and the guest is not: some rows leave calls that the backend never ends.
    private static MemfdGuestMemory Prepare(RegisterRow row, out GuestBench bench, out SmcRegisters registers)
    {
        bench = new GuestBench(row.Options with { Quantum = TimeSpan.FromMilliseconds(1) });
        row.Before(bench);
        registers = With(Sentinels(row.FunctionId), row.Call);
        return bench.Ram;
    }

    /// <summary>
    /// Every register holds something of its own; the upper half of X0 is not part of the function identifier.
    /// </summary>
    private static SmcRegisters Sentinels(uint functionId)
    {
        SmcRegisters registers = default;
        for (int index = 0; index < SmcRegisters.Count; index++)
        {
            registers[index] = 0x5e17_1e15_c0de_0000 + (ulong)index;
        }

        registers.X0 = 0xdead_beef_0000_0000 | functionId;
        return registers;
    }

    private static SmcRegisters With(SmcRegisters registers, IReadOnlyDictionary<int, ulong> values)
    {
        foreach ((int index, ulong value) in values)
        {
            registers[index] = value;
        }

        return registers;
    }

    private static SmcRegisters Masked(SmcRegisters registers, SmcRegisterSet loaded)
    {
        SmcRegisterSet others = SmcRegisterSet.All.Except(loaded);
        while (SmcRegisterSet.TryTakeFirst(ref others, out int index))
        {
            registers[index] = 0;
        }

        return registers;
    }

    private static ulong[] Values(in SmcRegisters registers) => registers[..].ToArray();
}
