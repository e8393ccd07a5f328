using System.Security.Cryptography;
using OpTeeMediator.Kvm.State;

namespace OpTeeMediator.Tests.State;

/// <summary>The file of a saved VM: what was written is read, and nothing else.</summary>
[TestFixture]
public sealed class VmStateTests
{
    private const int Large = 700_000;

    private static readonly Guid Identity = new("8d6c0c5e-9a3c-4c8f-a0d5-0f5f0b1d2e3f");
    private static readonly byte[] Key = RandomNumberGenerator.GetBytes(VmStateOptions.MinimumKeySize);

    [Test]
    public void Sections_OfEverySize_AreReadAsWritten(
        [Values(0, 1, 65_535, 65_536, 65_537, 262_136, Large)] int length, [Values] bool isEncrypted)
    {
        byte[] content = RandomNumberGenerator.GetBytes(length);
        byte[] state = Write(OptionsFor(isEncrypted), ("ONE.", content), ("TWO.", [1, 2, 3]));

        Assert.That(Read(state, OptionsFor(isEncrypted), "ONE.", "TWO."), Is.EqualTo(content.Concat<byte>([1, 2, 3])));
    }

    [Test]
    public void State_WithAKey_HasNoPlaintext()
    {
        byte[] secret = "what the guest knows"u8.ToArray();

        byte[] encrypted = Write(OptionsFor(isEncrypted: true), ("ONE.", secret));
        byte[] again = Write(OptionsFor(isEncrypted: true), ("ONE.", secret));
        byte[] plain = Write(OptionsFor(isEncrypted: false), ("ONE.", secret));

        Assert.That(encrypted.AsSpan().IndexOf("guest"u8), Is.Negative);
        Assert.That(encrypted.AsSpan().IndexOf("ONE."u8), Is.Negative);
        Assert.That(encrypted.AsSpan(64).IndexOf(again.AsSpan(64, 32)), Is.Negative, "each state has its own key");
        Assert.That(plain.AsSpan().IndexOf("guest"u8), Is.Positive);
    }

    [Test]
    public void Restore_EachBitOfASmallStateFlipped_IsRefused([Values] bool isEncrypted)
    {
        byte[] state = Write(OptionsFor(isEncrypted), ("ONE.", [1, 2, 3, 4]), ("TWO.", []));
        for (int bit = 0; bit < state.Length * 8; bit++)
        {
            byte[] changed = [.. state];
            changed[bit / 8] ^= (byte)(1 << (bit % 8));

            Assert.That(
                () => Read(changed, OptionsFor(isEncrypted), "ONE.", "TWO."), Throws.TypeOf<InvalidDataException>(),
                $"bit {bit % 8} of byte {bit / 8}");
        }
    }

    [Test]
    public void Restore_CutAtEachLength_IsRefused([Values] bool isEncrypted)
    {
        byte[] state = Write(OptionsFor(isEncrypted), ("ONE.", [1, 2, 3, 4]), ("TWO.", []));
        for (int length = 0; length < state.Length; length++)
        {
            Assert.That(
                () => Read(state[..length], OptionsFor(isEncrypted), "ONE.", "TWO."),
                Throws.TypeOf<InvalidDataException>(), $"{length} bytes");
        }
    }

    [Test]
    public void Flush_BetweenSections_LetsTheReaderHaveThem([Values] bool isEncrypted)
    {
        using MemoryStream state = new();
        using VmStateWriter writer = new(state, OptionsFor(isEncrypted));
        using (Stream section = writer.BeginSection("ONE."))
        {
            section.Write([1, 2, 3]);
            Assert.That(section.Position, Is.EqualTo(3));
            Assert.That(writer.Flush, Throws.InvalidOperationException);
        }

        writer.Flush();
        long length = state.Length;
        writer.Flush();
        Assert.That(state.Length, Is.EqualTo(length), "no empty chunk, which a reader refuses");
        using MemoryStream sent = new(state.ToArray());
        using VmStateReader reader = new(sent, OptionsFor(isEncrypted));
        using MemoryStream read = new();
        reader.OpenSection("ONE.").CopyTo(read);
        Assert.That(read.ToArray(), Is.EqualTo(new byte[] { 1, 2, 3 }));
        Assert.That(reader.Complete, Throws.TypeOf<InvalidDataException>().With.Message.Contains("cut off"));

        writer.BeginSection("TWO.").Dispose();
        writer.Complete();
        Assert.That(Read(state.ToArray(), OptionsFor(isEncrypted), "ONE.", "TWO."), Has.Length.EqualTo(3));
        Assert.That(writer.Flush, Throws.InvalidOperationException);
    }

    [Test]
    public void Restore_EmptyChunkBeforeTheLast_IsRefused()
    {
        // Of a sender without a key, who could keep a reader busy for ever.
        const int HeaderSize = 64;
        const int TagSize = 16;
        byte[] state = Write(OptionsFor(isEncrypted: false), ("ONE.", [1]));
        byte[] empty = [.. SHA256.HashData(state.AsSpan(0, HeaderSize)), 0, 0, 0, 0];
        byte[] afterEmpty = SHA256.HashData(empty);
        byte[] last = state[HeaderSize..^TagSize];
        byte[] changed =
        [
            .. state[..HeaderSize], 0, 0, 0, 0, .. afterEmpty[..TagSize],
            .. last, .. SHA256.HashData([.. afterEmpty, .. last])[..TagSize],
        ];

        Assert.That(Message(changed, OptionsFor(isEncrypted: false)), Does.Contain("changed"));
    }

    [Test]
    public void Restore_OfAStateForAnotherChallenge_IsRefused([Values] bool isEncrypted)
    {
        VmStateOptions options = OptionsFor(isEncrypted) with { Challenge = new byte[] { 1, 2, 3 } };
        byte[] state = Write(options, ("ONE.", [7]));

        Assert.That(Read(state, options, "ONE."), Is.EqualTo(new byte[] { 7 }));
        foreach (byte[] other in (byte[][])[[], [1, 2], [1, 2, 4], new byte[VmStateOptions.MaximumChallengeSize]])
        {
            Assert.That(Message(state, options with { Challenge = other }), Does.Contain("changed"));
        }

        Assert.That(
            () => Write(options with { Challenge = new byte[VmStateOptions.MaximumChallengeSize + 1] }),
            Throws.ArgumentException);
    }

    [Test]
    public void Restore_ChunksCutOffExchangedOrRepeated_IsRefused([Values] bool isEncrypted)
    {
        const int Header = 64;
        const int Chunk = 4 + (256 << 10) + 16;
        byte[] state = Write(OptionsFor(isEncrypted), ("ONE.", new byte[Large]));
        byte[] first = state[Header..(Header + Chunk)];
        byte[] second = state[(Header + Chunk)..(Header + (2 * Chunk))];
        byte[] rest = state[(Header + (2 * Chunk))..];
        byte[] firstAsLast = [.. first];
        firstAsLast[3] |= 0x80;

        foreach (byte[][] order in (byte[][][])
            [
                [second, first, rest], [first, first, second, rest], [first, rest], [first, second], [rest],
                [firstAsLast],
            ])
        {
            byte[] changed = [.. state[..Header], .. order.SelectMany(chunk => chunk)];

            // Read as far as it goes, whatever the sections are.
            using VmStateReader reader = new(new MemoryStream(changed), OptionsFor(isEncrypted));
            Assert.That(
                () =>
                {
                    reader.OpenSection("ONE.").CopyTo(Stream.Null, 1 << 20);
                    reader.Complete();
                },
                Throws.TypeOf<InvalidDataException>().With.Message.Contain("changed").Or.Message.Contain("cut off"));
        }
    }

    [Test]
    public void Restore_OfAnotherVmVersionOrKey_SaysWhatIsWrong()
    {
        VmStateOptions encrypted = OptionsFor(isEncrypted: true);
        VmStateOptions plain = OptionsFor(isEncrypted: false);
        byte[] state = Write(encrypted, ("ONE.", [1]));
        byte[] newer = [.. state];
        newer[8]++;

        Assert.That(Message(state, encrypted with { VmIdentity = Guid.Empty }), Does.Contain(Identity.ToString()));
        Assert.That(Message(newer, encrypted), Does.Contain("version 2"));
        Assert.That(Message(state, plain), Does.Contain("no key is given"));
        Assert.That(Message(Write(plain, ("ONE.", [1])), encrypted), Does.Contain("not encrypted"));
        Assert.That(
            Message(state, encrypted with { Key = new byte[VmStateOptions.MinimumKeySize] }),
            Does.Contain("another one"));
        Assert.That(Message([1, 2, 3], encrypted), Does.Contain("cut off"));
        Assert.That(Message(new byte[100], encrypted), Does.Contain("no saved state"));
    }

    [Test]
    public void Reader_WhoExpectsOtherSections_IsRefused()
    {
        VmStateOptions options = OptionsFor(isEncrypted: false);
        byte[] state = Write(options, ("ONE.", [1, 2]), ("TWO.", [3]));

        Assert.That(
            () => Read(state, options, "TWO."), Throws.TypeOf<InvalidDataException>().With.Message.Contain("'ONE.'"));
        Assert.That(
            () => Read(state, options, "ONE."), Throws.TypeOf<InvalidDataException>().With.Message.Contain("more"));
        using VmStateReader reader = new(new MemoryStream(state), options);
        _ = reader.OpenSection("ONE.").ReadByte();
        Assert.That(
            () => reader.OpenSection("TWO."), Throws.TypeOf<InvalidDataException>().With.Message.Contain("more"));
    }

    [Test]
    public void Writer_UsedInAnotherOrder_Throws()
    {
        using VmStateWriter writer = new(new MemoryStream(), new VmStateOptions());
        Stream section = writer.BeginSection("ONE.");

        Assert.That(() => writer.BeginSection("TWO."), Throws.InvalidOperationException);
        Assert.That(writer.Complete, Throws.InvalidOperationException);
        section.Dispose();
        Assert.That(() => section.WriteByte(1), Throws.TypeOf<ObjectDisposedException>());
        writer.Complete();
        Assert.That(writer.Complete, Throws.InvalidOperationException);
        Assert.That(() => writer.BeginSection("TWO."), Throws.InvalidOperationException);
        Assert.That(() => writer.BeginSection("LONGER"), Throws.ArgumentException);
        Assert.That(
            () => new VmStateWriter(new MemoryStream(), new VmStateOptions { Key = new byte[16] }),
            Throws.ArgumentException);
    }

    private static VmStateOptions OptionsFor(bool isEncrypted) =>
        new() { VmIdentity = Identity, Key = isEncrypted ? Key : default };

    private static byte[] Write(VmStateOptions options, params (string Name, byte[] Content)[] sections)
    {
        using MemoryStream state = new();
        using VmStateWriter writer = new(state, options);
        foreach ((string name, byte[] content) in sections)
        {
            using Stream section = writer.BeginSection(name);
            section.Write(content);
        }

        writer.Complete();
        return state.ToArray();
    }

    private static byte[] Read(byte[] state, VmStateOptions options, params string[] sections)
    {
        using VmStateReader reader = new(new MemoryStream(state), options);
        using MemoryStream all = new();
        foreach (string name in sections)
        {
            reader.OpenSection(name).CopyTo(all);
        }

        reader.Complete();
        return all.ToArray();
    }

    private static string Message(byte[] state, VmStateOptions options)
    {
        try
        {
            _ = Read(state, options, "ONE.");
        }
        catch (InvalidDataException exception)
        {
            return exception.Message;
        }

        return "";
    }
}
