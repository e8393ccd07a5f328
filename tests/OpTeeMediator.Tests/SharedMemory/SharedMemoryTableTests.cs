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

    // Cookies that meet in the first places of a table which spreads them by the fixed factor of Fibonacci hashing, as
    // a guest that knows it would choose.
    [Test]
    public void CountProbes_CookiesChosenAgainstAFixedFactor_StaysShort()
    {
        const int Count = 32_768;
        ulong inverse = InverseOf(0x9e37_79b9_7f4a_7c15);
        SharedMemoryTable table = new(Count);
        ulong[] cookies = [.. Enumerable.Range(0, Count).Select(index => unchecked((ulong)index * inverse))];
        Assert.That(cookies.Select(cookie => table.TryAdd(Buffer(cookie))), Is.All.True);

        // Half full, a table of this size has runs of some dozens; a thousand do not happen.
        Assert.That(cookies.Max(table.CountProbes), Is.LessThan(1_000));
    }

    // Kernel pointers, small numbers, high bits only: alike in all other bits.
    [TestCase(0xffff_0000_0000_0000ul, 0x40)]
    [TestCase(0ul, 1)]
    [TestCase(0ul, 0x1_0000_0000_0000)]
    [TestCase(0xffff_ffff_8000_0000ul, 0x1000)]
    public void CountProbes_RegularCookies_StaysShort(ulong first, long stride)
    {
        const int Count = 32_768;
        SharedMemoryTable table = new(Count);
        ulong[] cookies =
            [.. Enumerable.Range(0, Count).Select(index => unchecked(first + ((ulong)index * (ulong)stride)))];
        Assert.That(cookies.Select(cookie => table.TryAdd(Buffer(cookie))), Is.All.True);

        Assert.That(cookies.Max(table.CountProbes), Is.LessThan(1_000));
    }

    [Test]
    public void PlaceOf_TwoTables_DifferentPlaces()
    {
        CookieHash first = new();
        CookieHash second = new();

        Assert.That(
            Enumerable.Range(0, 64).Select(cookie => first.PlaceOf((ulong)cookie, 1 << 16)),
            Is.Not.EqualTo(Enumerable.Range(0, 64).Select(cookie => second.PlaceOf((ulong)cookie, 1 << 16))));
    }

    [Test]
    public void RemoveAny_BetweenAdditions_GivesAll()
    {
        SharedMemoryTable table = new(64);
        HashSet<ulong> expected = [];
        ulong next = 0;
        for (int round = 0; round < 200; round++)
        {
            for (int index = 0; index < 3 && table.Count < 64; index++)
            {
                Assert.That(table.TryAdd(Buffer(next)));
                _ = expected.Add(next++);
            }

            Assert.That(expected.Remove(table.RemoveAny()!.Cookie));
            Assert.That(expected.Remove(table.RemoveAny()!.Cookie));
        }

        while (table.RemoveAny() is { } buffer)
        {
            Assert.That(expected.Remove(buffer.Cookie));
        }

        Assert.That(expected, Is.Empty);
    }

    // Newton's iteration: each step doubles the number of right bits.
    private static ulong InverseOf(ulong odd)
    {
        ulong inverse = odd;
        for (int step = 0; step < 6; step++)
        {
            inverse = unchecked(inverse * (2 - (odd * inverse)));
        }

        return inverse;
    }

    private static SharedBuffer Buffer(ulong cookie)
    {
        SharedBuffer buffer = new(new NonThrowingGuestMemory(new ArrayGuestMemory(0, 0), NullLogger.Instance), id: 1);
        buffer.Describe(cookie, 0, 1, isTemporary: false);
        return buffer;
    }
}
