using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Memory;

[Parallelizable(ParallelScope.All)]
internal sealed class PinSetTests
{
    [Test]
    public void AddAndRemove_ManyAtRandom_AgreeWithAList()
    {
        Random random = new(1);
        PinSet pins = new();
        List<GuestPages> model = [];
        for (int step = 0; step < 2000; step++)
        {
            if (model.Count == 0 || random.Next(2) == 0)
            {
                GuestPages pages = new([(ulong)random.Next(64) * 0x1000, (ulong)random.Next(64) * 0x1000]);
                pins.Add(pages);
                model.Add(pages);
            }
            else
            {
                GuestPages pages = model[random.Next(model.Count)];
                _ = model.Remove(pages);
                Assert.That(pins.Remove(pages), Is.EqualTo(model.Count));
            }

            GuestRange range = new((ulong)random.Next(64) * 0x1000, 0x1000);
            Assert.That(pins.Overlaps(range), Is.EqualTo(model.Exists(pages => pages.Overlaps(range))));
            Assert.That(pins.Count, Is.EqualTo(model.Count));
        }
    }

    [Test]
    public void Add_PinnedAlready_Throws()
    {
        GuestPages pages = new([0]);
        PinSet pins = new();
        pins.Add(pages);

        Assert.That(() => pins.Add(pages), Throws.InvalidOperationException);
        Assert.That(() => new PinSet().Add(pages), Throws.InvalidOperationException);
        Assert.That(pins.Count, Is.EqualTo(1));
    }

    [Test]
    public void Remove_NotPinnedHere_Throws()
    {
        GuestPages pages = new([0]);
        PinSet pins = new();
        pins.Add(pages);

        Assert.That(() => new PinSet().Remove(pages), Throws.InvalidOperationException);
        _ = pins.Remove(pages);
        Assert.That(() => pins.Remove(pages), Throws.InvalidOperationException);
        Assert.That(pins.Count, Is.Zero);
    }

    [Test]
    public void Overlaps_OthersAddAndRemove_FindsWhatStaysPinned()
    {
        const int Rounds = 20_000;
        PinSet pins = new();
        GuestPages first = new([0]);
        GuestPages last = new([0x9000]);
        pins.Add(first);

        Task<bool>[] changing = [.. Enumerable.Range(1, 3).Select(thread => Task.Run(() =>
        {
            GuestPages own = new([(ulong)thread * GuestPages.PageSize]);
            GuestRange range = new((ulong)thread * GuestPages.PageSize, GuestPages.PageSize);
            bool isSeen = true;
            for (int round = 0; round < Rounds; round++)
            {
                pins.Add(own);
                isSeen &= pins.Overlaps(range) && pins.Overlaps(new GuestRange(0, 1));
                _ = pins.Remove(own);
                isSeen &= !pins.Overlaps(range);
            }

            return isSeen;
        }))];
        bool[] seen = Task.WhenAll(changing).GetAwaiter().GetResult();
        pins.Add(last);

        Assert.That(seen, Is.All.True);
        Assert.That((pins.Count, pins.Overlaps(new GuestRange(0x9000, 1))), Is.EqualTo((2, true)));
    }
}
