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
}
