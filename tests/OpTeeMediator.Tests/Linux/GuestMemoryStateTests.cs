using System.Buffers.Binary;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Linux;

/// <summary>Guest RAM in a file and back.</summary>
[TestFixture]
public sealed class GuestMemoryStateTests
{
    private const int PageSize = 4096;

    private static readonly GuestRange Low = new(0x1_0000, 64 * PageSize);
    private static readonly GuestRange High = new(0x4000_0000, 2048 * PageSize);

    private static readonly ulong[] Written =
        [0x1_0000, 0x4000_0000, 0x4000_1000, 0x4000_3008, 0x4040_0fff, 0x4040_1000, High.End.Value - 1];

    [Test]
    public void Save_AFewPages_RestoresThemAndNothingElse()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(Low, High);
        Fill(memory);
        using MemoryStream state = new();
        GuestMemoryState.Save(memory, state);
        state.Position = 0;
        using MemfdGuestMemory restored = MemfdGuestMemory.Create(Low, High);

        GuestMemoryState.Restore(restored, state);

        AssertThatTheyAreEqual(memory, restored);
        Assert.That(state.Position, Is.EqualTo(state.Length));
        Assert.That(state.Length, Is.LessThan(8 * PageSize), "seven pages, and little else");
    }

    [Test]
    public void SavePages_OfMemoryThatOthersWriteTo_MakesTheCopyEqualInTheEnd()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(Low, High);
        Fill(memory);
        TrackedGuestMemory tracked = new(memory);
        tracked.StartTracking();
        using MemoryStream state = new();
        using CancellationTokenSource stop = new();
        Task writing = Task.Run(() =>
        {
            Random random = new(1);
            for (ulong number = 1; !stop.IsCancellationRequested; number++)
            {
                // Numbers over page borders, and pages that become zero.
                ulong offset = (ulong)random.NextInt64((long)High.Length - PageSize);
                _ = number % 2 == 0
                    ? tracked.TryWrite(High.Start.Add(offset), number)
                    : tracked.TryWrite(High.Start.Add(offset & ~0xffful), new byte[PageSize]);
            }
        });
        GuestMemoryState.Save(memory, state);
        const int Rounds = 20;
        for (int round = 0; round < Rounds; round++)
        {
            _ = GuestMemoryState.SavePages(memory, tracked.TakeWritten(), state);
        }

        stop.Cancel();
        writing.Wait();
        long last = GuestMemoryState.SavePages(memory, tracked.TakeWritten(), state);

        using MemfdGuestMemory restored = MemfdGuestMemory.Create(Low, High);
        state.Position = 0;
        GuestMemoryState.Restore(restored, state);
        for (int round = 0; round <= Rounds; round++)
        {
            GuestMemoryState.RestorePages(restored, state);
        }

        AssertThatTheyAreEqual(memory, restored);
        Assert.That(state.Position, Is.EqualTo(state.Length));
        Assert.That(last, Is.LessThan(2048 + 64));
    }

    [Test]
    public void RestorePages_CutOrElsewhereOrTwice_IsRefused()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(Low, High);
        using MemoryStream state = new();
        Assert.That(
            GuestMemoryState.SavePages(memory, [new(Low.Start, PageSize), new(High.Start, 300 * PageSize)], state),
            Is.EqualTo(301));
        byte[] content = state.ToArray();
        for (int length = 0; length < content.Length; length += length is > 16 and < 4000 ? 997 : 1)
        {
            Assert.That(Message(memory, content[..length]), Does.Contain("too early"), $"{length} bytes");
            if (length > 5000)
            {
                length += 99_991;
            }
        }

        foreach ((ulong address, uint pages) in ((ulong, uint)[])
            [
                (Low.Start.Value - PageSize, 1), (Low.End.Value, 1), (Low.End.Value - PageSize, 2),
                (Low.Start.Value + 1, 1), (High.Start.Value, 257), (High.Start.Value, 0), (ulong.MaxValue, 1),
            ])
        {
            Assert.That(Message(memory, Run(address, pages)), Does.Contain("cannot be"), $"{pages} at 0x{address:x}");
        }

        Assert.That(
            Message(memory, [.. Run(High.Start.Value, 1), .. new byte[PageSize], .. Run(High.Start.Value, 1)]),
            Does.Contain("cannot be"));
        Assert.That(
            () => GuestMemoryState.SavePages(
                memory, [new(High.Start, PageSize), new(Low.Start, PageSize)], Stream.Null),
            Throws.ArgumentException);
        Assert.That(
            () => GuestMemoryState.SavePages(memory, [new(Low.Start.Add(1), PageSize)], Stream.Null),
            Throws.ArgumentException);

        static byte[] Run(ulong address, uint pages) =>
            [.. BitConverter.GetBytes(address), .. BitConverter.GetBytes(pages)];

        static string Message(MemfdGuestMemory memory, byte[] content)
        {
            try
            {
                GuestMemoryState.RestorePages(memory, new MemoryStream(content));
                return "";
            }
            catch (InvalidDataException exception)
            {
                return exception.Message;
            }
        }
    }

    [Test]
    public void Save_MemoryWithoutAFile_IsTheSame()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(Low, High);
        Fill(memory);
        using MemoryStream expected = new();
        GuestMemoryState.Save(memory, expected);
        using MappedGuestMemory view = MappedGuestMemory.Create(
            [.. memory.Regions.Select(region => new MappedMemoryRegion(region.Range, region.HostAddress))]);
        using MemoryStream found = new();

        GuestMemoryState.Save(view, found);

        Assert.That(found.ToArray(), Is.EqualTo(expected.ToArray()));
    }

    [Test]
    public void Restore_IntoOtherRegions_IsRefused()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(Low, High);
        using MemoryStream state = new();
        GuestMemoryState.Save(memory, state);

        foreach (GuestRange[] regions in (GuestRange[][])
            [[Low], [High], [Low, new(High.Start, High.Length * 2)], [Low, High, new(0x8000_0000, PageSize)]])
        {
            using MemfdGuestMemory other = MemfdGuestMemory.Create(regions);
            state.Position = 0;

            Assert.That(
                () => GuestMemoryState.Restore(other, state),
                Throws.TypeOf<InvalidDataException>().With.Message.Contain("other memory"));
        }
    }

    [TestCase(0x3fff_f000ul, 1u)]
    [TestCase(0x4000_0001ul, 1u)]
    [TestCase(0x4000_0000ul, 0u)]
    [TestCase(0x4000_0000ul, 257u)]
    [TestCase(0x4080_0000ul - PageSize, 2u)]
    [TestCase(ulong.MaxValue, 1u)]
    public void Restore_PagesThatCannotBe_IsRefused(ulong address, uint pages)
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(High);
        using MemoryStream state = new();
        GuestMemoryState.Save(memory, state);
        state.SetLength(state.Length - 12);
        state.Position = state.Length;
        Span<byte> run = stackalloc byte[12];
        BinaryPrimitives.WriteUInt64LittleEndian(run, address);
        BinaryPrimitives.WriteUInt32LittleEndian(run[8..], pages);
        state.Write(run);
        state.Write(new byte[300 * PageSize]);
        state.Position = 0;

        Assert.That(
            () => GuestMemoryState.Restore(memory, state),
            Throws.TypeOf<InvalidDataException>().With.Message.Contain("cannot be"));
    }

    [Test]
    public void Restore_CutState_IsRefused()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(High);
        Fill(memory);
        using MemoryStream state = new();
        GuestMemoryState.Save(memory, state);
        state.SetLength(state.Length - 1);
        state.Position = 0;

        Assert.That(() => GuestMemoryState.Restore(memory, state), Throws.TypeOf<InvalidDataException>());
    }

    private static void Fill(MemfdGuestMemory memory)
    {
        foreach (ulong address in Written)
        {
            _ = memory.TryWrite(address, [(byte)(address >> 12 | 1)]);
        }
    }

    private static void AssertThatTheyAreEqual(MemfdGuestMemory expected, MemfdGuestMemory found)
    {
        foreach (MappedMemoryRegion region in expected.Regions)
        {
            int length = (int)region.Range.Length;
            Assert.That(expected.TryGetWindow(region.Range.Start, length, out Span<byte> one));
            Assert.That(found.TryGetWindow(region.Range.Start, length, out Span<byte> other));
            Assert.That(one.SequenceEqual(other), Is.True, region.Range.ToString());
        }
    }
}
