using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Backends;
using OpTeeMediator.Linux.LinuxTee;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Tests.Linux;

/// <summary>A VM that uses the host's TEE, over a driver that the tests provide.</summary>
internal abstract class LinuxTeeFixture
{
    protected const ulong Start = 0x4000_0000;
    protected const ulong Page = 0x1000;

    protected static readonly Guid Application = new("8aaaf200-2450-11e4-abe2-0002a5d5c51b");
    protected static readonly Guid RandomNumbers = new("ab7a617c-b8e7-4d8f-8301-d09b61036b64");

    private static readonly Guid Enumeration = new("7011a688-ddde-4053-a5a9-7b3c4ddf13b8");

    private MemfdGuestMemory? _memory;
    private LinuxTeePartition? _partition;

    protected FakeTeeDevice Device { get; private set; } = new();

    protected ListLoggerFactory Log { get; private set; } = new();

    protected LinuxTeePartition Partition => _partition!;

    protected MemfdGuestMemory Memory => _memory!;

    [SetUp]
    public void CreateVm()
    {
        CreateDevice();
        _memory = MemfdGuestMemory.Create(new GuestRange(Start, 1 << 20));
        _partition = CreatePartition(new LinuxTeeOptions(), TeeAccess.All);
    }

    /// <summary>A fresh driver, and an empty log.</summary>
    protected void CreateDevice()
    {
        Device = new FakeTeeDevice { OnOpenSession = argument => IsEnumeration(argument) ? TeeReturnCode.ItemNotFound
            : TeeReturnCode.Success };
        Log = new ListLoggerFactory();
    }

    [TearDown]
    public async Task DestroyVm()
    {
        await _partition!.DisposeAsync();
        Assert.That(Log.Messages.Where(message => !message.Contains("VM vm", StringComparison.Ordinal)), Is.Empty,
            "each entry names the VM");
        _memory?.Dispose();
        Device.Dispose();
        Log.Dispose();
    }

    protected static TeeRequest OpenRequest(TeeLogin login) =>
        new() { Operation = TeeOperation.OpenSession, Application = Application,
            Client = new ClientIdentity(login, Guid.NewGuid()) };

    protected static SharedBuffer Buffer(IGuestMemory memory, ulong pageOffset, ulong size, params ulong[] pages)
    {
        SharedBuffer buffer = new(new NonThrowingGuestMemory(memory, NullLogger.Instance), id: 1);
        bool isAligned = GuestPages.Examine(pages, out bool isContiguous, out GuestRange extent);
        Assert.That(isAligned);
        buffer.Pages.Set(pages[0], pages.Length, isContiguous ? null : pages, extent);
        buffer.Describe(cookie: 0, pageOffset, size, isTemporary: false);
        return buffer;
    }

    protected static TeeVirtualMachine VirtualMachine(TeeAccess access) =>
        new("vm", access, 4, NullLoggerFactory.Instance);

    protected LinuxTeePartition CreatePartition(LinuxTeeOptions options, TeeAccess access)
    {
        using LinuxTeeBackend backend = new(options, _ => Device);
        return (LinuxTeePartition)backend.CreatePartition(VirtualMachine(access) with { LoggerFactory = Log });
    }

    protected async Task<ITeeSession> OpenAsync()
    {
        TeeRequest request = OpenRequest(TeeLogin.Public);
        Assert.That((await Partition.OpenSessionAsync(request)).IsSuccess, Is.True);
        return request.Session!;
    }

    protected async Task<TeeRequest> RequestAsync(uint command) =>
        new() { Operation = TeeOperation.InvokeCommand, CommandId = command, Session = await OpenAsync() };

    protected byte[] GuestBytes(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        Assert.That(Memory.TryRead(address, bytes), Is.True);
        return bytes;
    }

    protected static bool IsEnumeration(in TeeOpenSessionArgument argument) =>
        ((ReadOnlySpan<byte>)argument.Application).SequenceEqual(Enumeration.ToByteArray(bigEndian: true));
}
