using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Tests.Companion;

/// <summary>A companion whose memory is copied while it runs, before it goes on elsewhere.</summary>
internal sealed class CompanionCopyTests
{
    private const ulong PageSize = 4096;
    private const ulong LastPage = 0x00f0_0000 - PageSize;

    private static readonly GuestRange Ram = new(0x4000_0000, 1 << 20);
    private static readonly OpTeeCompanionOptions Options = CompanionBench.Options();
    private static readonly VmStateOptions State = new() { VmIdentity = Guid.NewGuid(), Key = new byte[32] };

    [Test]
    public async Task Rounds_MemoryIsWrittenMeanwhile_HaveOnlyThatAndAllArrives()
    {
        await using CompanionBench bench = Start();
        FakeVm vm = bench.Vms[0];
        for (ulong page = 0; page < 20; page++)
        {
            vm[page * PageSize] = 1;
        }

        using OpTeeCompanionCopy copy = bench.Companion.StartCopy(State);
        using OpTeeCompanionArrival arrival = Expect(out List<FakeVm> vms);

        // 20, and the device tree.
        Assert.That(Round(copy, arrival), Is.EqualTo((21, true)));
        (vm[3 * PageSize], vm[4 * PageSize], vm[LastPage]) = (0, 2, 3);
        Assert.That(Round(copy, arrival), Is.EqualTo((3, false)), "one of them is zero now");
        Assert.That(Round(copy, arrival), Is.EqualTo((0, false)));
        vm[5 * PageSize] = 4;
        Assert.That(await bench.Companion.PauseAsync());
        vm[6 * PageSize] = 5;
        byte[] rest = await SaveAsync(bench, copy);
        await using OpTeeCompanion restored = Restore(rest, arrival, vms);
        FakeVm there = vms[^1];
        restored.Resume();

        Assert.That(rest, Has.Length.LessThan(4 * PageSize), "two pages, and little else");
        for (ulong offset = 0; offset <= LastPage; offset += PageSize)
        {
            Assert.That(there[offset], Is.EqualTo(vm[offset]), $"page at {offset}");
        }

        Assert.That(there.HasImage, Is.False);
        Assert.That(Call(restored, OpTeeSmc.CallsCount), Is.Zero);
    }

    [Test]
    public async Task Rounds_PageIsWrittenDuringTheLastOne_IsInTheRest([Values] bool isFirst)
    {
        const ulong Pages = 200;
        await using CompanionBench bench = Start();
        FakeVm vm = bench.Vms[0];
        using OpTeeCompanionCopy copy = bench.Companion.StartCopy(State);
        using OpTeeCompanionArrival arrival = Expect(out List<FakeVm> vms);
        if (!isFirst)
        {
            _ = Round(copy, arrival);
        }

        for (ulong page = 0; page < Pages; page++)
        {
            vm[page * PageSize] = 1;
        }

        // The first page was copied then.
        using WatchedStream round = new(length: 100 * (int)PageSize, () => vm[0] = 2);
        _ = copy.SaveRound(round);
        arrival.RestoreRound(new MemoryStream(round.ToArray()));
        Assert.That((vm[0], vms[^1][0]), Is.EqualTo(((byte)2, (byte)1)));
        Assert.That(await bench.Companion.PauseAsync());
        await using OpTeeCompanion restored = Restore(await SaveAsync(bench, copy), arrival, vms);

        Assert.That(vms[^1][0], Is.EqualTo(2));
    }

    [Test]
    public async Task Rounds_AnotherOpTeeTakesItsPlace_BeginAnew([Values] bool isLastRound)
    {
        await using CompanionBench bench = Start();
        bench.Vms[0][0] = 1;
        bench.Vms[0][PageSize] = 1;
        using OpTeeCompanionCopy copy = bench.Companion.StartCopy(State);
        using OpTeeCompanionArrival arrival = Expect(out List<FakeVm> vms);
        Assert.That(Round(copy, arrival), Is.EqualTo((3, true)));

        await bench.Companion.ResetAsync();
        bench.Vms[1][2 * PageSize] = 7;
        if (!isLastRound)
        {
            Assert.That(Round(copy, arrival), Is.EqualTo((2, true)));
            bench.Vms[1][3 * PageSize] = 8;
        }

        Assert.That(await bench.Companion.PauseAsync());
        await using OpTeeCompanion restored = Restore(await SaveAsync(bench, copy), arrival, vms);
        FakeVm there = vms[^1];

        Assert.That((there[0], there[PageSize], there[2 * PageSize]), Is.EqualTo(((byte)0, (byte)0, (byte)7)));
        Assert.That(there[3 * PageSize], Is.EqualTo(isLastRound ? 0 : 8));
    }

    [Test]
    public async Task Rounds_OpTeeHasFailed_AreEmptyAndAnotherOneAwaitsTheNextDriver()
    {
        await using CompanionBench bench = new(Options, make: number => number == 0 ? new FakeVm(2)
            : throw new IOException("no memory"), guestMemory: Ram);
        using OpTeeCompanionCopy copy = bench.Companion.StartCopy(State);
        using OpTeeCompanionArrival arrival = Expect(out List<FakeVm> vms);
        Assert.That(Round(copy, arrival), Is.EqualTo((1, true)));
        foreach (FakeCpu cpu in bench.Vms[0].Fakes)
        {
            cpu.Program = _ => KvmExitReason.InternalError;
        }

        _ = bench.Call(OpTeeSmc.CallsCount);
        Assert.That(Round(copy, arrival), Is.EqualTo((0, true)));
        Assert.That(await bench.Companion.PauseAsync());
        await using OpTeeCompanion restored = Restore(await SaveAsync(bench, copy), arrival, vms);
        FakeVm there = vms[^1];
        restored.Resume();

        Assert.That(there.HasImage);
        Assert.That(Call(restored, OpTeeSmc.CallsCount), Is.EqualTo(unchecked((uint)SmcccReturn.NotSupported)));
        Assert.That(Call(restored, OpTeeSmc.CallsUid), Is.Not.EqualTo(unchecked((uint)SmcccReturn.NotSupported)));
    }

    [Test]
    public async Task Save_VmGoesOn_TheNextCopyHasAll()
    {
        await using CompanionBench bench = Start();
        bench.Vms[0][0] = 1;
        OpTeeCompanionCopy first = bench.Companion.StartCopy(State);
        _ = first.SaveRound(Stream.Null);
        Assert.That(() => bench.Companion.StartCopy(State), Throws.InvalidOperationException);
        Assert.That(() => bench.Companion.SaveAsync(Stream.Null, State, first), Throws.InvalidOperationException);
        Assert.That(await bench.Companion.PauseAsync());
        _ = await SaveAsync(bench, first);
        bench.Companion.Resume();
        Assert.That(() => first.SaveRound(Stream.Null), Throws.InstanceOf<ObjectDisposedException>());
        Assert.That(() => bench.Companion.SaveAsync(Stream.Null, State, first), Throws.Exception);

        // A whole state has all, whatever is copied meanwhile.
        using OpTeeCompanionCopy copy = bench.Companion.StartCopy(State);
        using OpTeeCompanionArrival arrival = Expect(out List<FakeVm> vms);
        Assert.That(Round(copy, arrival), Is.EqualTo((2, true)));
        bench.Vms[0][PageSize] = 2;
        Assert.That(await bench.Companion.PauseAsync());
        using MemoryStream whole = new();
        await bench.Companion.SaveAsync(whole, State);
        byte[] rest = await SaveAsync(bench, copy);
        await using OpTeeCompanion one = OpTeeCompanion.Restore(
            Setup(Options, vms), new MemoryStream(whole.ToArray()), State, arrival: null);
        await using OpTeeCompanion other = Restore(rest, arrival, vms);
        FakeVm there = vms[^1];

        Assert.That((there[0], there[PageSize]), Is.EqualTo(((byte)1, (byte)2)));
    }

    [Test]
    public async Task SaveRound_TargetFails_EndsTheCopy()
    {
        await using CompanionBench bench = Start();
        OpTeeCompanionCopy copy = bench.Companion.StartCopy(State);

        Assert.That(() => copy.SaveRound(new MemoryStream(new byte[100])), Throws.InstanceOf<NotSupportedException>());
        Assert.That(() => copy.SaveRound(Stream.Null), Throws.InstanceOf<ObjectDisposedException>());
        bench.Companion.StartCopy(State).Dispose();
    }

    [Test]
    public async Task Dispose_KvmDoesNotStopLogging_EndsTheCopyAllTheSame()
    {
        await using CompanionBench bench = Start();
        OpTeeCompanionCopy copy = bench.Companion.StartCopy(State);
        _ = copy.SaveRound(Stream.Null);
        bench.Vms[0].HasBrokenMemory = true;
        Assert.That(copy.Dispose, Throws.InstanceOf<SystemCallException>());
        bench.Vms[0].HasBrokenMemory = false;

        using OpTeeCompanionCopy next = bench.Companion.StartCopy(State);
        Assert.That(next.SaveRound(Stream.Null), Is.Positive);
        Assert.That(() => copy.SaveRound(Stream.Null), Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public async Task RestoreRound_ChangedCutMissingOrOfAnotherCopy_IsRefused()
    {
        await using CompanionBench bench = Start();
        List<byte[]> rounds = [];
        byte[] rest = [];
        byte[] foreign = [];
        foreach (bool isForeign in (bool[])[true, false])
        {
            using OpTeeCompanionCopy copy = bench.Companion.StartCopy(State);
            rounds.Clear();
            for (int round = 0; round < 3; round++)
            {
                using MemoryStream target = new();
                _ = copy.SaveRound(target);
                rounds.Add(target.ToArray());
                bench.Vms[0][(ulong)round * PageSize] = 1;
            }

            Assert.That(await bench.Companion.PauseAsync());
            rest = await SaveAsync(bench, copy);
            bench.Companion.Resume();
            foreign = isForeign ? rounds[1] : foreign;
        }

        byte[] first = rounds[0];
        for (int index = 0; index < first.Length; index += index > 300 ? 97 : 1)
        {
            byte[] changed = [.. first];
            changed[index] ^= 4;
            AssertThatItIsRefused("", changed);
            AssertThatItIsRefused("", first[..index]);
        }

        const string DoesNotFollow = "does not follow";
        AssertThatItIsRefused(DoesNotFollow, rounds[1]);
        AssertThatItIsRefused(DoesNotFollow, first, first);
        AssertThatItIsRefused(DoesNotFollow, first, rounds[2]);
        AssertThatItIsRefused(DoesNotFollow, first, foreign);
        AssertThatItIsRefused("section 'VMOF'", first, rest);
        AssertThatItIsRefused("that of VM", State with { VmIdentity = Guid.NewGuid() }, first);
        AssertThatItIsRefused("encrypted", State with { Key = null }, first);
        AssertThatItIsRefused("other memory", Options with { LogsConsole = true }, first);
        AssertThatRestIsRefused(DoesNotFollow, rest, first, rounds[1]);
        AssertThatRestIsRefused("does not follow", rest);
        AssertThatRestIsRefused("was changed", [.. rest[..^1], (byte)~rest[^1]], [.. rounds]);
        AssertThatRestIsRefused("cut off", rest[..^1], [.. rounds]);
        Assert.That(
            () => Restore(rest, arrival: null, []),
            Throws.TypeOf<InvalidDataException>().With.Message.Contain(nameof(OpTeeCompanionArrival)));
    }

    [Test]
    public async Task RestoreRound_TheFirst_MakesTheVmBeforeTheOtherOneStops()
    {
        await using CompanionBench bench = Start();
        using OpTeeCompanionCopy copy = bench.Companion.StartCopy(State);
        using OpTeeCompanionArrival arrival = Expect(out List<FakeVm> vms);
        Assert.That(vms, Is.Empty);
        _ = Round(copy, arrival);
        _ = Round(copy, arrival);

        Assert.That(vms, Has.Count.EqualTo(1));
        await bench.Companion.ResetAsync();
        _ = Round(copy, arrival);
        Assert.That(vms.Select(vm => vm.IsDisposed), Is.EqualTo([true, false]), "one at a time");
        Assert.That(await bench.Companion.PauseAsync());
        await using OpTeeCompanion restored = Restore(await SaveAsync(bench, copy), arrival, vms);
        Assert.That(vms, Has.Count.EqualTo(2), "the pause makes none");
    }

    [Test]
    public async Task RestoreRound_TheVmCannotBeMade_IsRefusedBeforeThePauseAndLeavesNothing()
    {
        await using CompanionBench bench = Start();
        using OpTeeCompanionCopy copy = bench.Companion.StartCopy(State);
        using MemoryStream round = new();
        _ = copy.SaveRound(round);
        round.Position = 0;
        MemfdGuestMemory? memory = null;
        using OpTeeCompanionArrival arrival = new(
            CompanionBench.Setup(
                Options,
                copied =>
                {
                    memory = copied;
                    throw new NotSupportedException("This kernel has no SMCCC filter.");
                },
                Ram),
            State);

        Assert.That(
            () => arrival.RestoreRound(round),
            Throws.InstanceOf<NotSupportedException>().With.Message.Contain("no SMCCC filter"));
        Assert.That(memory, Is.Not.Null, "the VM owns it");
        Assert.That(() => arrival.RestoreRound(round), Throws.InstanceOf<ObjectDisposedException>());
    }

    // What an arrival is made of: the checks come before the first round, and before the host's KVM is looked for.
    [Test]
    public void Setup_ImageOrMemoryDoesNotFit_IsRefusedAtOnce()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(new GuestRange(0x0e00_0000, 4 << 20));
        OpTeePlatform elsewhere = Options.Platform with { SecureMemory = new GuestRange(0x0e40_0000, 4096) };

        Assert.That(
            () => CompanionSetup.ForKvm(given: null, memory, tracked: null, Options),
            Throws.ArgumentException.With.Message.Contain("overlaps OP-TEE's secure memory"));
        Assert.That(
            () => CompanionSetup.ForKvm(
                given: null, memory, tracked: null,
                Options with { Image = ImageFiles.Raw(new byte[8192]), Platform = elsewhere }),
            Throws.ArgumentException.With.Message.Contain("The image of 8192 bytes"));
    }

    private static CompanionBench Start() => new(Options, guestMemory: Ram);

    private static (long Pages, bool IsWhole) Round(OpTeeCompanionCopy copy, OpTeeCompanionArrival arrival)
    {
        using MemoryStream round = new();
        long pages = copy.SaveRound(round);
        round.Position = 0;
        arrival.RestoreRound(round);
        Assert.That(round.Position, Is.EqualTo(round.Length));
        round.Position = 0;
        using VmStateReader state = new(round, State);
        return (pages, CopyMark.Read(state).Content != CompanionContent.Rest);
    }

    private static async Task<byte[]> SaveAsync(CompanionBench bench, OpTeeCompanionCopy copy)
    {
        using MemoryStream state = new();
        await bench.Companion.SaveAsync(state, State, copy);
        return state.ToArray();
    }

    private static OpTeeCompanionArrival Expect(out List<FakeVm> vms)
    {
        vms = [];
        return new(Setup(Options, vms), State);
    }

    /// <summary>A companion in fake VMs, which are listed.</summary>
    private static CompanionSetup Setup(OpTeeCompanionOptions options, List<FakeVm> vms) => CompanionBench.Setup(
        options,
        copied =>
        {
            vms.Add(new FakeVm(2, copied));
            return vms[^1];
        },
        Ram);

    private static OpTeeCompanion Restore(byte[] state, OpTeeCompanionArrival? arrival, List<FakeVm> vms)
    {
        try
        {
            return OpTeeCompanion.Restore(
                arrival?.Setup ?? Setup(Options, vms), new MemoryStream(state), State, arrival);
        }
        catch
        {
            arrival?.Dispose();
            Assert.That(vms.Select(vm => vm.IsDisposed), Is.All.True);
            throw;
        }
    }

    private static void AssertThatRestIsRefused(string why, byte[] rest, params byte[][] rounds)
    {
        using OpTeeCompanionArrival arrival = Expect(out List<FakeVm> vms);
        foreach (byte[] round in rounds)
        {
            arrival.RestoreRound(new MemoryStream(round));
        }

        Assert.That(
            () => Restore(rest, arrival, vms), Throws.TypeOf<InvalidDataException>().With.Message.Contain(why));
    }

    private static void AssertThatItIsRefused(string why, params byte[][] rounds) =>
        AssertThatItIsRefused(why, Options, State, rounds);

    private static void AssertThatItIsRefused(string why, VmStateOptions state, params byte[][] rounds) =>
        AssertThatItIsRefused(why, Options, state, rounds);

    private static void AssertThatItIsRefused(string why, OpTeeCompanionOptions options, params byte[][] rounds) =>
        AssertThatItIsRefused(why, options, State, rounds);

    private static void AssertThatItIsRefused(
        string why, OpTeeCompanionOptions options, VmStateOptions state, byte[][] rounds)
    {
        List<FakeVm> vms = [];
        using OpTeeCompanionArrival arrival = new(Setup(options, vms), state);
        foreach (byte[] round in rounds[..^1])
        {
            arrival.RestoreRound(new MemoryStream(round));
        }

        Assert.That(
            () => arrival.RestoreRound(new MemoryStream(rounds[^1])),
            Throws.TypeOf<InvalidDataException>().With.Message.Contain(why));
        Assert.That(
            () => arrival.RestoreRound(new MemoryStream(rounds[^1])), Throws.InstanceOf<ObjectDisposedException>());
        Assert.That(vms.Select(vm => vm.IsDisposed), Is.All.True);
    }

    private static uint Call(OpTeeCompanion companion, uint functionId)
    {
        SmcRegisters registers = default;
        registers.X0 = functionId;
        _ = companion.Handle(ref registers, SmcRegisterSet.All);
        return (uint)registers.X0;
    }

    /// <summary>Does something once, when as many bytes were written to it.</summary>
    private sealed class WatchedStream(int length, Action onLength) : MemoryStream
    {
        private Action? _onLength = onLength;

        public override void Write(ReadOnlySpan<byte> buffer) => Write(buffer.ToArray(), 0, buffer.Length);

        public override void Write(byte[] buffer, int offset, int count)
        {
            base.Write(buffer, offset, count);
            if (Length >= length && Interlocked.Exchange(ref _onLength, null) is { } action)
            {
                action();
            }
        }
    }
}
