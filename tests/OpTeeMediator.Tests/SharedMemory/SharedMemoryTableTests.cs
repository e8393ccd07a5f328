using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Memory;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Tests.Memory;

namespace OpTeeMediator.Tests.SharedMemory;

[Parallelizable(ParallelScope.All)]
internal sealed class SharedMemoryTableTests
{
    // Few cookies and a small table, so that runs are long and wrap around its end; a table of one place; a larger one.
    [TestCase(1, 3, 1)]
    [TestCase(4, 12, 2)]
    [TestCase(16, 64, 3)]
    [TestCase(100, 300, 4)]
    public void Operations_ManyAtRandom_AgreeWithADictionary(int capacity, int cookies, int seed)
    {
        Random random = new(seed);
        ulong[] names = [.. Enumerable.Range(0, cookies).Select(_ => (ulong)random.NextInt64())];
        SharedMemoryTable table = new(capacity);
        Dictionary<ulong, SharedBuffer> model = [];

        for (int step = 0; step < 20_000; step++)
        {
            ulong cookie = names[random.Next(cookies)];
            if (random.Next(2) == 0)
            {
                SharedBuffer buffer = Buffer(cookie);
                bool fits = model.Count < capacity && model.TryAdd(cookie, buffer);
                Assert.That(table.TryAdd(buffer), Is.EqualTo(fits));
            }
            else
            {
                _ = model.Remove(cookie, out SharedBuffer? expected);
                Assert.That(table.Remove(cookie), Is.SameAs(expected));
            }

            ulong asked = names[random.Next(cookies)];
            Assert.That(table.Find(asked), Is.SameAs(model.GetValueOrDefault(asked)));
            Assert.That(table.Count, Is.EqualTo(model.Count));
        }

        Assert.That(names.Select(table.Find), Is.EqualTo(names.Select(model.GetValueOrDefault)));
    }

    [Test]
    public void RemoveAny_UntilEmpty_GivesEachOnce()
    {
        SharedMemoryTable table = new(8);
        SharedBuffer[] buffers = [.. Enumerable.Range(0, 8).Select(index => Buffer((ulong)index * 0x40))];
        Assert.That(buffers.Select(table.TryAdd), Is.All.True);

        IEnumerable<SharedBuffer?> taken = [.. Enumerable.Range(0, 8).Select(_ => table.RemoveAny())];

        Assert.That(taken, Is.EquivalentTo(buffers));
        Assert.That(table.RemoveAny(), Is.Null);
        Assert.That(table.Count, Is.Zero);
    }

    private static SharedBuffer Buffer(ulong cookie)
    {
        SharedBuffer buffer = new(new NonThrowingGuestMemory(new ArrayGuestMemory(0, 0), NullLogger.Instance));
        buffer.Describe(cookie, 0, 1, isTemporary: false);
        return buffer;
    }
}
