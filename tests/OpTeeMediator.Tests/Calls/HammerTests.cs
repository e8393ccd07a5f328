using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Calls;

/// <summary>vCPUs that make calls while another rewrites the messages and page lists under them.</summary>
internal sealed class HammerTests
{
    private static readonly TimeSpan Duration = TimeSpan.FromSeconds(1);

    // OK, ETHREAD_LIMIT, EBUSY, ERESUME, EBADADDR, EBADCMD, ENOTAVAIL (capabilities, cache), FOREIGN_INTR.
    private static readonly ulong[] LegalAnswers = [0, 1, 2, 3, 4, 5, 7, 0xffff_0004];

    // ENOMEM: only where an earlier driver's calls may hold all the slots.
    private static readonly ulong[] LegalAnswersWithRestarts = [.. LegalAnswers, 6];

    [TestCase(false, 8, true)]
    [TestCase(true, 8, true)]
    [TestCase(true, 1, false)]
    [TestCase(false, 1, false)]
    [TestCase(false, 1, true)]
    public async Task Handle_MessagesChangeAllTheTime_OnlyLegalAnswersAndNothingIsLeft(
        bool onWorkers, int calls, bool restarts)
    {
        ScriptedBackend backend = onWorkers ? GuestBench.OnWorkers() : new ScriptedBackend();
        backend.OnInvoke = UseEverything;
        await using GuestBench bench = new(new OpTeeGuestOptions { Limits = new OpTeeLimits { Calls = calls },
            ShutdownDeadline = TimeSpan.FromSeconds(20) }, backend);
        Arena arena = new(bench);
        using CancellationTokenSource end = new(Duration);

        Task<HashSet<ulong>>[] vcpus = [.. Enumerable.Range(1, 2).Select(seed => Task.Factory.StartNew(
            () => Call(bench, arena, seed, restarts, end.Token), TaskCreationOptions.LongRunning))];
        Task scribbler =
            Task.Factory.StartNew(() => Scribble(bench, arena, end.Token), TaskCreationOptions.LongRunning);
        await scribbler;
        HashSet<ulong> answers = [.. (await Task.WhenAll(vcpus)).SelectMany(set => set)];
        OpTeeGuestStatus left = await bench.DisposeGuestAsync();

        Assert.That(answers, Is.SubsetOf(restarts ? LegalAnswersWithRestarts : LegalAnswers));
        Assert.That(answers, Does.Contain(0ul), "Some calls should succeed, or the test shows nothing.");
        Assert.That(left, Is.EqualTo(GuestBench.Nothing));
        Assert.That((backend.OpenSessions, backend.RegisteredBuffers, backend.Partitions, backend.Disposals),
            Is.EqualTo((0, 0, 1, 1)));
        Assert.That(bench.Loggers.EventIds.Where(id => id >= 1100), Is.Empty,
            "Nothing should fail on the host's side.");
        Assert.That(bench.Ram.TryDiscard(new GuestRange(GuestBench.RamStart, GuestBench.RamLength)),
            "Everything should be unpinned.");
    }

    private static ValueTask<TeeResult> UseEverything(TeeRequest request)
    {
        Span<byte> bytes = stackalloc byte[16];
        foreach (ref readonly TeeParameter parameter in request.Parameters)
        {
            if (parameter.Memory is not null)
            {
                // Checked by the mediator: inside of its capacity a reference can be read.
                int length = (int)Math.Min(parameter.Capacity, 16);
                if (!parameter.TryRead(parameter.Capacity - (ulong)length, bytes[..length]))
                {
                    throw new InvalidOperationException("A reference left its buffer.");
                }
            }
        }

        return new ValueTask<TeeResult>(TeeResult.Success);
    }

    private static HashSet<ulong> Call(GuestBench bench, Arena arena, int seed, bool restarts, CancellationToken end)
    {
        Random random = new(seed);
        HashSet<ulong> answers = [];
        while (!end.IsCancellationRequested)
        {
            SmcRegisters registers = default;
            ulong page = arena.Messages[random.Next(arena.Messages.Length)];
            (registers.X0, registers.X1, registers.X2, registers.X3) = random.Next(40) switch
            {
                0 when restarts => (OpTeeSmc.ExchangeCapabilities, 0ul, 0ul, 0ul),
                1 => (OpTeeSmc.ReturnFromRpc, 0ul, 0ul, (ulong)random.Next(0x1000)),
                2 => (OpTeeSmc.DisableShmCache, 0ul, 0ul, 0ul),
                < 10 => (OpTeeSmc.CallWithRegisteredArgument, 0ul, (ulong)random.Next(Arena.Cookies),
                    (ulong)random.Next(16) * 0x80),
                < 20 => (OpTeeSmc.CallWithArgument, page >> 32, page, 0ul),
                _ => (OpTeeSmc.CallWithRpcArgument, page >> 32, page, 0ul),
            };
            _ = bench.Guest.Handle(ref registers);
            _ = answers.Add(registers.X0);
            while (registers.X0 == OpTeeSmc.ReturnRpcForeignInterrupt && !end.IsCancellationRequested)
            {
                registers.X0 = OpTeeSmc.ReturnFromRpc;
                _ = bench.Guest.Handle(ref registers);
                _ = answers.Add(registers.X0);
            }
        }

        return answers;
    }

    private static void Scribble(GuestBench bench, Arena arena, CancellationToken end)
    {
        Random random = new(99);
        while (!end.IsCancellationRequested)
        {
            ulong page = arena.Messages[random.Next(arena.Messages.Length)];
            switch (random.Next(3))
            {
                case 0:
                    arena.WriteMessage(bench, page, random);
                    break;

                case 1:
                    bench.Driver.Write<uint>(page + (4 * (ulong)random.Next(56)), [(uint)random.Next(16)]);
                    break;

                default:
                    bench.Driver.Write<ulong>(arena.Lists[random.Next(arena.Lists.Length)]
                        + (8 * (ulong)random.Next(512)), [arena.Page(random)]);
                    break;
            }
        }
    }

    /// <summary>The guest's pages, and what it writes into them.</summary>
    private sealed class Arena
    {
        public const int Cookies = 12;

        private readonly ulong[] _pages;

        public Arena(GuestBench bench)
        {
            Messages = bench.Driver.AllocatePages(4, 1);
            _pages = bench.Driver.AllocatePages(64, 2);
            Lists = [.. Enumerable.Range(0, 4).Select(
                index => bench.Driver.WritePageList([.. _pages[..(index + 1)], .. Enumerable.Repeat(_pages[0], 600)]))];
            Random random = new(7);
            foreach (ulong page in Messages)
            {
                WriteMessage(bench, page, random);
            }
        }

        public ulong[] Messages { get; }

        public ulong[] Lists { get; }

        public ulong Page(Random random) => random.Next(50) switch
        {
            0 => 0xffff_ffff_ffff_f000,
            1 => 0x1000_0000,
            2 => _pages[0] + 8,
            3 => Lists[random.Next(Lists.Length)],
            _ => _pages[random.Next(_pages.Length)],
        };

        public void WriteMessage(GuestBench bench, ulong page, Random random)
        {
            uint session = (uint)random.Next(4) + ((uint)random.Next(2) << 16);
            GuestMessage message = random.Next(12) switch
            {
                0 or 1 => FakeDriver.Opening(GuestBench.Application, default, 0,
                    [.. Parameters(random, random.Next(3))]),
                2 => GuestBench.Closing(session),
                3 => new GuestMessage(OpTeeMessage.CommandCancel) { Session = session },
                4 or 5 => new GuestMessage(
                    OpTeeMessage.CommandRegisterSharedMemory,
                    GuestParameter.PageList(Lists[random.Next(Lists.Length)] + (ulong)random.Next(2),
                        (ulong)random.Next(1, 520 * 0x1000), (ulong)random.Next(Cookies))),
                6 => GuestBench.Unregistering((ulong)random.Next(Cookies)),
                _ => GuestBench.Invocation(session, 0, [.. Parameters(random, random.Next(5))]),
            };
            bench.Driver.WriteMessage(page, message);
        }

        private IEnumerable<GuestParameter> Parameters(Random random, int count) =>
            Enumerable.Range(0, count).Select(_ => random.Next(6) switch
        {
            0 => GuestParameter.ValueInOut(1, 2),
            1 => GuestParameter.None,
            2 => GuestParameter.Temporary((uint)random.Next(9, 12), Page(random) + (ulong)random.Next(0x1000),
                (ulong)random.Next(0x3000), 0),
            3 => GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInOut | OpTeeMessage.AttributeNonContiguous,
                Lists[random.Next(Lists.Length)], (ulong)random.Next(1, 0x5000), 0),
            _ => GuestParameter.RegisteredInOut((ulong)random.Next(0x1800), (ulong)random.Next(0x1800),
                (ulong)random.Next(Cookies)),
        });
    }
}
