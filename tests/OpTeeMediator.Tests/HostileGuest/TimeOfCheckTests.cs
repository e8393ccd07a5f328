using System.Globalization;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Tests.Vmm;

namespace OpTeeMediator.Tests.HostileGuest;

/// <summary>The attack: another vCPU changes a field after it has been checked and before it is used. Every field of
/// every message and page list is changed, to several values, before every read.</summary>
/// <remarks><see cref="Calls.ChangingMemoryTests"/> changes all fields at once after every access, and
/// <see cref="Calls.HammerTests"/> all the time. A companion's guest is read by its OP-TEE alone.</remarks>
[Parallelizable(ParallelScope.All)]
internal sealed class TimeOfCheckTests
{
    [TestCaseSource(typeof(AttackedConversation), nameof(AttackedConversation.All))]
    public async Task EachField_ChangedBeforeEachRead(
        HandlerKind kind, uint conduit, AttackedConversation conversation)
    {
        (string baseline, RacingGuestMemory memory, MessageField[] fields) = await RunAsync(0, default, value => value);
        IReadOnlyList<IReadOnlySet<ulong>> reads = memory.Reads;
        Assert.That(memory.DoubleReads, Is.Empty, "No field should be read twice.");
        Assert.That(reads, Is.Not.Empty);

        int changed = 0;
        foreach (MessageField field in fields)
        {
            foreach (Func<ulong, ulong> change in ChangesOf(field))
            {
                // Before a read the change counts as if it had been there from the beginning, or not at all.
                Dictionary<int, string> outcomes = [];
                for (int before = reads.Count; before > 0; before--)
                {
                    (string outcome, _, _) = await RunAsync(before, field, change);
                    bool isReadHere = reads[before - 1].Contains(field.Address);
                    int? next = outcomes.Count == 0 ? null : outcomes.Keys.Min();
                    if (isReadHere)
                    {
                        outcomes.Add(before, outcome);
                        changed += outcome == baseline ? 0 : 1;
                    }
                    else if (outcome != baseline && (next is not { } read || outcome != outcomes[read]))
                    {
                        Assert.Fail(string.Create(CultureInfo.InvariantCulture,
                            $"{field.Name}, changed before read {before} of {reads.Count}, leads to\n{outcome}\n"
                            + $"instead of\n{baseline}"));
                    }
                }
            }
        }

        Assert.That(changed, Is.Not.Zero, "A change before the first read should be noticed.");

        Task<(string Outcome, RacingGuestMemory Memory, MessageField[] Fields)> RunAsync(
            int before, MessageField field, Func<ulong, ulong> change) =>
            conversation.RunAsync(kind, conduit, before, field, change);
    }

    [Test]
    public void Companion_HasNoGuestMemoryToReadFrom() => Assert.That(
        new[] { typeof(OpTeeCompanion), typeof(CompanionTee), typeof(CompanionCore), typeof(SuspendedCalls) }
            .SelectMany(type => type.GetFields(System.Reflection.BindingFlags.Instance
                | System.Reflection.BindingFlags.NonPublic | System.Reflection.BindingFlags.Public))
            .Where(field => field.FieldType.IsAssignableTo(typeof(IGuestMemory))),
        Is.Empty);

    /// <summary>What a field is changed to, from what it is.</summary>
    private static IEnumerable<Func<ulong, ulong>> ChangesOf(MessageField field)
    {
        yield return value => ~value;
        if (!field.Name.StartsWith("list", StringComparison.Ordinal))
        {
            yield return value => value ^ 1;
            yield return _ => 0;
            yield return value => value + 1;
            yield return value => value ^ RacedVm.Cookie ^ RacedVm.OtherCookie;
            yield return value => value + OpTeeMessage.PageSize;
        }
        else
        {
            yield return value => value + (4 * OpTeeMessage.PageSize);
        }
    }
}
