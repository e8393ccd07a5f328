using System.Buffers.Binary;
using KvmVmm.Devices.Virtio;
using KvmVmm.Machine;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Samples;

/// <summary>KvmVmm's disk, driven as a guest's driver does it.</summary>
[TestFixture]
internal sealed class VirtioDiskTests
{
    private const ulong Ram = 0x4000_0000;
    private const ulong Descriptors = Ram + 0x1000;
    private const ulong Available = Ram + 0x2000;
    private const ulong Used = Ram + 0x3000;
    private const ulong Header = Ram + 0x4000;
    private const ulong Status = Ram + 0x4100;
    private const ulong Data = Ram + 0x5000;
    private const int QueueSize = 8;
    private const ulong Sectors = 256;
    private const uint Read = 0;
    private const uint Write = 1;
    private const uint Flush = 4;
    private const uint NeedsReset = 64;

    private string _path = "";
    private DiskFile _file = null!;
    private MemfdGuestMemory _memory = null!;
    private VirtioMmio _disk = null!;
    private volatile bool _isRaised;
    private ushort _available;

    [SetUp]
    public void SetUp()
    {
        _path = Path.GetTempFileName();
        File.WriteAllBytes(_path, new byte[Sectors * 512]);
        Open();
    }

    [TearDown]
    public void TearDown()
    {
        Close();
        File.Delete(_path);
    }

    [Test]
    public void Write_ThenRead_ReturnsTheBytes()
    {
        byte[] bytes = [.. Enumerable.Range(0, 4096).Select(index => (byte)(index * 7))];
        SetUpQueue();
        Assert.That(_memory.TryWrite(Data, bytes));
        Assert.That(Request(Write, sector: 3, 4096, isWritable: false), Is.EqualTo((0, 1u)));
        Assert.That(_memory.TryWrite(Data, new byte[4096]));

        Assert.That(Request(Read, sector: 3, 4096, isWritable: true), Is.EqualTo((0, 4097u)));

        byte[] read = new byte[4096];
        Assert.That(_memory.TryRead(Data, read));
        Assert.That(read, Is.EqualTo(bytes));
        Close();
        Assert.That(File.ReadAllBytes(_path).AsSpan(3 * 512, 4096).ToArray(), Is.EqualTo(bytes));
        Open();
    }

    [Test]
    public void Interrupt_AfterARequest_IsRaisedUntilItIsAcknowledged()
    {
        SetUpQueue();
        _ = Request(Flush, 0, 0, isWritable: false);

        Assert.That(() => _isRaised, Is.True.After(10_000, 1));
        Assert.That(_disk.Read(0x060), Is.EqualTo(1));
        _disk.Write(0x064, 1);
        Assert.That(_isRaised, Is.False);
    }

    [TestCase(Read, Sectors, 512u, true)]
    [TestCase(Read, Sectors - 1, 1024u, true)]
    [TestCase(Read, ulong.MaxValue, 512u, true)]
    [TestCase(Read, ulong.MaxValue / 512, 512u, true)]
    [TestCase(Read, 0ul, 511u, true)]
    [TestCase(Read, 0ul, 512u, false)]
    [TestCase(Write, 0ul, 512u, true)]
    [TestCase(Write, Sectors, 512u, false)]
    public void Request_ThatCannotBeServed_FailsAndTheNextIsServed(
        uint type, ulong sector, uint length, bool isWritable)
    {
        SetUpQueue();

        Assert.That(Request(type, sector, length, isWritable).Status, Is.EqualTo(1));
        Assert.That(Request(Read, 0, 512, isWritable: true), Is.EqualTo((0, 513u)));
    }

    [Test]
    public void Request_OfAnUnknownType_IsUnsupported()
    {
        SetUpQueue();

        Assert.That(Request(77, 0, 512, isWritable: true).Status, Is.EqualTo(2));
    }

    [Test]
    public void Request_WhoseDataIsOutsideOfRam_Fails()
    {
        SetUpQueue();
        WriteDescriptor(1, 0x1000, 512, 1 | 2, 2);

        Assert.That(Request(Read, 0, 512, isWritable: true, dataAddress: 0x1000).Status, Is.EqualTo(1));
    }

    [Test]
    public void Chain_ThatIsALoop_BreaksTheQueueUntilReset()
    {
        SetUpQueue();
        WriteDescriptor(0, Header, 16, 1, 1);
        WriteDescriptor(1, Data, 512, 1 | 2, 0);

        Offer(0);

        Assert.That(() => _disk.Read(0x070) & NeedsReset, Is.EqualTo(NeedsReset).After(10_000, 1));
        SetUpQueue();
        Assert.That(Request(Read, 0, 512, isWritable: true).Status, Is.Zero);
    }

    [TestCase((ushort)QueueSize)]
    [TestCase(ushort.MaxValue)]
    public void Available_NamesNoDescriptor_BreaksTheQueue(ushort head)
    {
        SetUpQueue();

        Offer(head);

        Assert.That(() => _disk.Read(0x070) & NeedsReset, Is.EqualTo(NeedsReset).After(10_000, 1));
    }

    [Test]
    public void Available_CountsMoreThanTheQueueHas_BreaksTheQueue()
    {
        SetUpQueue();
        Assert.That(_memory.TryWrite(Available + 2, (ushort)(QueueSize + 1)));

        _disk.Write(0x050, 0);

        Assert.That(() => _disk.Read(0x070) & NeedsReset, Is.EqualTo(NeedsReset).After(10_000, 1));
    }

    [Test]
    public void Queue_InNoMemory_IsBroken()
    {
        SetUpQueue(queueAt: 0x1000);

        _disk.Write(0x050, 0);

        Assert.That(() => _disk.Read(0x070) & NeedsReset, Is.EqualTo(NeedsReset).After(10_000, 1));
    }

    [Test]
    public void Features_TheDriverTakesOneThatWasNotOffered_AreNotAgreedOn()
    {
        _disk.Write(0x070, 0);
        _disk.Write(0x024, 0);
        _disk.Write(0x020, 1u << 31);
        _disk.Write(0x024, 1);
        _disk.Write(0x020, 1);

        _disk.Write(0x070, 1 | 2 | 8);

        Assert.That(_disk.Read(0x070) & 8, Is.Zero);
    }

    [Test]
    public void Registers_OfTheDevice_NameADiskOfThisSize()
    {
        Assert.That((_disk.Read(0), _disk.Read(4), _disk.Read(8)), Is.EqualTo((0x7472_6976ul, 2ul, 2ul)));
        Assert.That(_disk.Read(0x100), Is.EqualTo(Sectors));
        Assert.That(_disk.Read(0x34), Is.EqualTo(VirtioQueue.MaximumSize));
    }

    private void Open()
    {
        _file = DiskFile.Open(_path);
        _memory = MemfdGuestMemory.Create(new GuestRange(Ram, 64 << 10));
        _disk = new VirtioMmio(
            new GuestRange(0xa00_0000, 0x1000), new VirtioDisk(_file, _memory), _memory, value => _isRaised = value);
    }

    private void Close()
    {
        _disk.Dispose();
        _memory.Dispose();
        _file.Dispose();
    }

    private void SetUpQueue(ulong queueAt = Ram)
    {
        _available = 0;
        Assert.That(_memory.TryWrite(Available, new byte[64]));
        Assert.That(_memory.TryWrite(Used, new byte[128]));
        _disk.Write(0x070, 0);
        _disk.Write(0x024, 1);
        _disk.Write(0x020, 1);
        _disk.Write(0x070, 1 | 2 | 8);
        Assert.That(_disk.Read(0x070) & 8, Is.EqualTo(8));
        _disk.Write(0x030, 0);
        _disk.Write(0x038, QueueSize);
        (ulong Offset, ulong Address)[] parts = [(0x80, Descriptors), (0x90, Available), (0xa0, Used)];
        foreach ((ulong offset, ulong address) in parts)
        {
            _disk.Write(offset, (uint)(address - Ram + queueAt));
            _disk.Write(offset + 4, (address - Ram + queueAt) >> 32);
        }

        _disk.Write(0x044, 1);
        _disk.Write(0x070, 1 | 2 | 8 | 4);
    }

    private (int Status, uint Written) Request(
        uint type, ulong sector, uint length, bool isWritable, ulong dataAddress = Data)
    {
        byte[] header = new byte[16];
        BinaryPrimitives.WriteUInt32LittleEndian(header, type);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), sector);
        Assert.That(_memory.TryWrite(Header, header));
        Assert.That(_memory.TryWrite(Status, (byte)0xff));
        ushort second = (ushort)(length == 0 ? 2 : 1);
        WriteDescriptor(0, Header, 16, 1, second);
        WriteDescriptor(1, dataAddress, length, (ushort)(isWritable ? 1 | 2 : 1), 2);
        WriteDescriptor(2, Status, 1, 2, 0);
        Offer(0);
        Assert.That(() => UsedIndex(), Is.EqualTo(_available).After(10_000, 1));
        Assert.That(_memory.TryRead(Status, out byte status));
        ulong entry = Used + 4 + ((ulong)((_available - 1) % QueueSize) * 8);
        Assert.That(_memory.TryRead(entry + 4, out uint written));
        return (status, written);
    }

    private ushort UsedIndex()
    {
        Assert.That(_memory.TryRead(Used + 2, out ushort index));
        return index;
    }

    private void WriteDescriptor(int index, ulong address, uint length, ushort flags, ushort next)
    {
        ulong at = Descriptors + ((ulong)index * 16);
        Assert.That(_memory.TryWrite(at, address));
        Assert.That(_memory.TryWrite(at + 8, length | ((ulong)flags << 32) | ((ulong)next << 48)));
    }

    private void Offer(ushort head)
    {
        Assert.That(_memory.TryWrite(Available + 4 + ((ulong)(_available % QueueSize) * 2), head));
        _available++;
        Assert.That(_memory.TryWrite(Available + 2, _available));
        _disk.Write(0x050, 0);
    }
}
