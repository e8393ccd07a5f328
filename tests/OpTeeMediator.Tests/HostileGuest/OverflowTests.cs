using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Tests.Vmm;

namespace OpTeeMediator.Tests.HostileGuest;

/// <summary>The attack: numbers at the edges of their types, and sums of them that wrap. Every field of every message
/// and page list has every such value.</summary>
/// <remarks>What exactly is answered: <see cref="Calls.MessageAddressTests"/>, <see cref="Calls.MessageRefusalTests"/>,
/// <see cref="SharedMemory.PageListTests"/> and <see cref="SharedMemory.HighMemoryTests"/>.</remarks>
[Parallelizable(ParallelScope.All)]
internal sealed class OverflowTests
{
    private const ulong Page = OpTeeMessage.PageSize;

    private static readonly ulong[] Edges =
    [
        ulong.MaxValue, 0, Page - 1, Page + 1, int.MaxValue, 1ul << 31, uint.MaxValue, 1ul << 32, 1ul << 52,
        1ul << 63, ulong.MaxValue - Page, ulong.MaxValue - Page + 1,
    ];

    [TestCaseSource(typeof(AttackedConversation), nameof(AttackedConversation.AllByRpcArgument))]
    public async Task EachField_AtEachEdge(HandlerKind kind, uint conduit, AttackedConversation conversation)
    {
        (string baseline, RacingGuestMemory memory, MessageField[] fields) =
            await conversation.RunAsync(kind, conduit, 0, default, value => value);
        int refused = 0;
        foreach (MessageField field in fields)
        {
            int before = memory.Reads.Index().Where(read => read.Item.Contains(field.Address))
                .Select(read => read.Index + 1).DefaultIfEmpty(1).Last();

            // Each entry of a list is read in the same way.
            IEnumerable<ulong> edges = field.Name.StartsWith("list", StringComparison.Ordinal) ? Edges.Take(1) : Edges;
            foreach (ulong edge in edges)
            {
                (string outcome, _, _) = await conversation.RunAsync(kind, conduit, before, field, _ => edge);
                refused += outcome == baseline ? 0 : 1;

                Assert.That(outcome, Does.Not.Contain(RacedVm.Unreadable), $"{field.Name} is 0x{edge:x}");
            }
        }

        Assert.That(refused, Is.Not.Zero);
    }

    /// <summary>Registers with every such value, for every function: no exception, and an answer each time.</summary>
    [Test]
    public async Task EachRegister_AtEachEdge([Values] HandlerKind kind)
    {
        await using OpTeeBench bench = OpTeeBench.Create(kind);
        foreach (uint function in (uint[])
            [
                OpTeeSmc.CallWithArgument, OpTeeSmc.CallWithRpcArgument, OpTeeSmc.CallWithRegisteredArgument,
                OpTeeSmc.ReturnFromRpc, OpTeeSmc.ExchangeCapabilities, OpTeeSmc.GetShmConfig,
                OpTeeSmc.GetAsyncNotificationValue, OpTeeSmc.EnableShmCache, OpTeeSmc.DisableShmCache,
                OpTeeSmc.VmCreated, OpTeeSmc.VmDestroyed,
            ])
        {
            for (int register = 1; register < 8; register++)
            {
                foreach (ulong edge in Edges)
                {
                    SmcRegisters registers = default;
                    registers.X0 = function;
                    registers[register] = edge;
                    Assert.That(bench.Make(ref registers).Kind, Is.EqualTo(SmcOutcomeKind.Handled));
                }
            }
        }

        Assert.That(bench.Finish(bench.NewCall()), Is.EqualTo(OpTeeSmc.ReturnOk), "The guest is served as before.");
    }
}
