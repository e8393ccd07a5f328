using System.Buffers.Binary;
using System.Text;
using OpTeeMediator.Fuzzing.Engine;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>The file of a saved VM: chunks, sections, a companion's beginning, and guest RAM.</summary>
/// <remarks>
/// <para>An input: which kind, and what is read. Of the content of a file, sealed again as an owner of the key could:
/// the sections are those that a second reader finds, and a companion's state is refused or comes back when what was
/// restored is saved. Of a whole file: it is refused or read. Of changes of an encrypted file: it is refused unless
/// nothing has changed.</para>
/// <para>The registers of vCPUs and GIC need KVM.</para>
/// </remarks>
internal sealed class VmStateTarget : FuzzTarget
{
    private const int Pages = 6;
    private const ulong Start = 0x4000_0000;
    private const string MemorySection = "MEMO";

    private static readonly Guid Identity = new("6c1cf9a0-4a43-4a5e-9b8c-0f2e7f8a3d13");
    private static readonly VmStateOptions Plain = new() { VmIdentity = Identity };
    private static readonly VmStateOptions Encrypted = new() { VmIdentity = Identity, Key = new byte[32] };
    private static readonly GuestRange[] Ranges =
        [new(Start, 2 * GuestPages.PageSize), new(Start + (1 << 20), (Pages - 2) * GuestPages.PageSize)];

    private readonly MemfdGuestMemory _memory = MemfdGuestMemory.Create(Ranges);
    private readonly MemfdGuestMemory _other = MemfdGuestMemory.Create(Ranges);
    private readonly OpTeeCompanionOptions _options = new()
    {
        Image = OpTeeImage.Parse("tee.bin", new ImageTarget().Seeds.ElementAt(1), _ => []),
    };

    private readonly byte[] _file = WriteTwoChunks();

    private enum Kind
    {
        Content,
        EncryptedContent,
        File,
        Changes,
    }

    public override int MaximumLength => 4 * GuestPages.PageSize;

    public override IEnumerable<byte[]> Seeds
    {
        get
        {
            byte[] withMemory = [0x01, 0x80, .. new byte[14]];
            foreach (int pages in (int[])[0, 1, 2])
            {
                Clear(_memory);
                for (int page = 0; page < pages; page++)
                {
                    withMemory.CopyTo(PageOf(_memory, page * 3));
                }

                CompanionContent tee = pages == 2 ? CompanionContent.Rest : CompanionContent.Whole;
                byte[] content = ContentOf(WriteCompanion(_memory, isDue: pages == 1, tee));
                yield return [(byte)Kind.Content, .. content];
                yield return [(byte)Kind.EncryptedContent, .. content];
                yield return [(byte)Kind.File, .. Seal(content, Plain)];
            }

            yield return
                [(byte)Kind.Content, .. ContentOf(WriteCompanion(_memory, isDue: true, CompanionContent.NoTee))];
            yield return [(byte)Kind.Content, .. "ABCD"u8, 3, 0, 0, 0, 1, 2, 3, 1, 0, 0, 0, 4, 0, 0, 0, 0];
            yield return [(byte)Kind.Changes];
            yield return [(byte)Kind.Changes, 0, 70, 0, 0, 1];
            yield return [(byte)Kind.Changes, 1, 0, 0, 2, 0];
            yield return [(byte)Kind.Changes, 2, 0, 0, 4, 200];
        }
    }

    public override void Execute(ReadOnlySpan<byte> input)
    {
        if (input.IsEmpty)
        {
            return;
        }

        ReadOnlySpan<byte> rest = input[1..];
        switch ((Kind)(input[0] % 4))
        {
            case Kind.File:
                ReadCompanion(rest.ToArray(), Plain);
                break;

            case Kind.Changes:
                CheckChanges(rest);
                break;

            case Kind kind:
                VmStateOptions options = kind == Kind.Content ? Plain : Encrypted;
                byte[] file = Seal(rest, options);
                CheckSections(rest, file, options);
                ReadCompanion(file, options);
                break;
        }
    }

    private static byte[] Seal(ReadOnlySpan<byte> content, VmStateOptions options)
    {
        using MemoryStream file = new();
        byte[] header = StateHeader.Create(options);
        file.Write(header);
        using ChunkProtection protection = StateHeader.ProtectionFor(header, options);
        ChunkWriter chunks = new(file, protection);
        chunks.Write(content);
        chunks.Complete();
        return file.ToArray();
    }

    private static byte[] WriteTwoChunks()
    {
        using MemoryStream file = new();
        using VmStateWriter state = new(file, Encrypted);
        using (Stream section = state.BeginSection(MemorySection))
        {
            section.Write(new byte[ChunkWriter.ChunkSize + 100]);
        }

        state.Complete();
        return file.ToArray();
    }

    // Of a file of one chunk without a key.
    private static byte[] ContentOf(byte[] file) =>
        file[(StateHeader.Size + ChunkWriter.HeaderSize)..^ChunkProtection.TagSize];

    private byte[] WriteCompanion(MemfdGuestMemory memory, bool isDue, CompanionContent tee)
    {
        using MemoryStream file = new();
        using VmStateWriter state = new(file, Plain);
        new CompanionState(_options, Ranges).Begin(state, isDue, tee);
        if (tee == CompanionContent.Rest)
        {
            new CopyMark(Identity, Rounds: 2, CompanionContent.Rest).Write(state);
            using Stream section = state.BeginSection(MemorySection);
            _ = GuestMemoryState.SavePages(memory, Ranges, section);
        }
        else if (tee == CompanionContent.Whole)
        {
            using Stream section = state.BeginSection(MemorySection);
            GuestMemoryState.Save(memory, section);
        }

        state.Complete();
        return file.ToArray();
    }

    private void ReadCompanion(byte[] file, VmStateOptions options)
    {
        if (!TryReadCompanion(file, options, _memory, out bool isDue, out CompanionContent tee))
        {
            return;
        }

        bool isRead = TryReadCompanion(
            WriteCompanion(_memory, isDue, tee), Plain, _other, out bool isDueAgain, out CompanionContent teeAgain);
        Require(isRead && isDueAgain == isDue && teeAgain == tee, "what was restored can be saved");
        for (int page = 0; page < Pages; page++)
        {
            Require(PageOf(_memory, page).SequenceEqual(PageOf(_other, page)), "the memory is the same then");
        }
    }

    private bool TryReadCompanion(
        byte[] file, VmStateOptions options, MemfdGuestMemory memory, out bool isDue, out CompanionContent tee)
    {
        (isDue, tee) = (false, CompanionContent.NoTee);
        Clear(memory);
        try
        {
            using MemoryStream source = new(file);
            using VmStateReader state = new(source, options);
            tee = new CompanionState(_options, Ranges).ReadBeginning(state, out isDue);
            if (tee == CompanionContent.Rest)
            {
                _ = CopyMark.Read(state);
                GuestMemoryState.RestorePages(memory, state.OpenSection(MemorySection));
            }
            else if (tee == CompanionContent.Whole)
            {
                GuestMemoryState.Restore(memory, state.OpenSection(MemorySection));
            }

            state.Complete();
            return true;
        }
        catch (InvalidDataException)
        {
            return false;
        }
    }

    // Reads the content a second time, from the description of the format.
    private static void CheckSections(ReadOnlySpan<byte> content, byte[] file, VmStateOptions options)
    {
        using MemoryStream source = new(file);
        using VmStateReader state = new(source, options);
        while (TryTakeSection(ref content, out string name, out byte[] expected))
        {
            using MemoryStream found = new();
            state.OpenSection(name).CopyTo(found);
            Require(found.ToArray().AsSpan().SequenceEqual(expected), "a section has its pieces");
        }

        bool isComplete;
        try
        {
            state.Complete();
            isComplete = true;
        }
        catch (InvalidDataException)
        {
            isComplete = false;
        }

        Require(isComplete == content.IsEmpty, "a state ends with its last section");
    }

    private static bool TryTakeSection(ref ReadOnlySpan<byte> content, out string name, out byte[] bytes)
    {
        name = "";
        bytes = [];
        if (content.Length < SectionName.Size || !Ascii.IsValid(content[..SectionName.Size]))
        {
            return false;
        }

        name = Encoding.ASCII.GetString(content[..SectionName.Size]);
        using MemoryStream pieces = new();
        ReadOnlySpan<byte> rest = content[SectionName.Size..];
        while (rest.Length >= sizeof(uint))
        {
            uint length = BinaryPrimitives.ReadUInt32LittleEndian(rest);
            rest = rest[sizeof(uint)..];
            if (length == 0)
            {
                content = rest;
                bytes = pieces.ToArray();
                return true;
            }

            if (length > Math.Min(SectionWriteStream.LargestPiece, rest.Length))
            {
                return false;
            }

            pieces.Write(rest[..(int)length]);
            rest = rest[(int)length..];
        }

        return false;
    }

    // Each change: what, where (3 bytes), and a number.
    private void CheckChanges(ReadOnlySpan<byte> changes)
    {
        List<byte> file = [.. _file];
        for (; changes.Length >= 5 && file.Count > 0; changes = changes[5..])
        {
            int position = (changes[1] | (changes[2] << 8) | (changes[3] << 16)) % file.Count;
            int number = changes[4];
            switch (changes[0] % 4)
            {
                case 0:
                    file[position] ^= (byte)number;
                    break;

                case 1:
                    file.RemoveRange(position, file.Count - position);
                    break;

                case 2:
                    file.AddRange(file.GetRange(position, Math.Min(number, file.Count - position)));
                    break;

                default:
                    file.RemoveRange(position, Math.Min(number, file.Count - position));
                    break;
            }
        }

        // What follows the last chunk is not the state's.
        byte[] changed = [.. file];
        bool isSame = changed.AsSpan().StartsWith(_file);
        bool isRead;
        try
        {
            using MemoryStream source = new(changed);
            using VmStateReader state = new(source, Encrypted);
            state.OpenSection(MemorySection).CopyTo(Stream.Null);
            state.Complete();
            isRead = true;
        }
        catch (InvalidDataException)
        {
            isRead = false;
        }

        Require(isRead == isSame, "a file is read if nothing in it has changed");
    }

    private static void Clear(MemfdGuestMemory memory)
    {
        for (int page = 0; page < Pages; page++)
        {
            PageOf(memory, page).Clear();
        }
    }

    private static Span<byte> PageOf(MemfdGuestMemory memory, int page)
    {
        GuestRange range = Ranges[page < 2 ? 0 : 1];
        ulong offset = (ulong)(page < 2 ? page : page - 2) * GuestPages.PageSize;
        Require(memory.TryGetWindow(range.Start.Add(offset), GuestPages.PageSize, out Span<byte> window),
            "the memory is there");
        return window;
    }
}
