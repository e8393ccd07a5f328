using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Remote;
using OpTeeMediator.Testing;

namespace OpTeeMediator.RemoteTests;

/// <summary>A TEE server, and one VM that is its client, in one process.</summary>
internal sealed class RemoteBench : IAsyncDisposable
{
    public const ulong RamStart = 0x4000_0000;
    public const ulong RamLength = 16 << 20;
    public static readonly Guid Application = new("5e2d6c9c-93f0-4d5e-a0c5-1c8d6f6a2b11");

    private readonly string _folder = Directory.CreateTempSubdirectory("optee-remote").FullName;
    private TeeServer? _server;

    public RemoteBench(ITeeBackend backend, Func<TeeServerOptions, TeeServerOptions>? change = null)
    {
        SocketPath = Path.Combine(_folder, "tee");
        TeeServerOptions options = new() { SocketPath = SocketPath, LoggerFactory = ServerLog };
        Options = change is null ? options : change(options);
        _server = TeeServer.Start(backend, Options);
        Memory = MemfdGuestMemory.Create(new GuestRange(new GuestAddress(RamStart), RamLength));
        Guest = new OpTeeGuest(
            Memory,
            new RemoteTeeBackend(SocketPath),
            new OpTeeGuestOptions { LoggerFactory = ClientLog, Name = "vm1" });
        const ulong Half = RamLength / 2;
        Driver = new FakeDriver(Guest, Memory, new GuestRange(new GuestAddress(RamStart), Half));
        OtherDriver = new FakeDriver(Guest, Memory, new GuestRange(new GuestAddress(RamStart + Half), Half));
    }

    public string SocketPath { get; }

    public TeeServerOptions Options { get; }

    public LogList ServerLog { get; } = new();

    public LogList ClientLog { get; } = new();

    public MemfdGuestMemory Memory { get; }

    public OpTeeGuest Guest { get; }

    public FakeDriver Driver { get; }

    /// <summary>The same driver on another vCPU.</summary>
    public FakeDriver OtherDriver { get; }

    public TeeServer Server => _server!;

    public uint Open() => Driver.OpenSession(Application).Session;

    public async Task StopServerAsync()
    {
        if (_server is not null)
        {
            await _server.DisposeAsync();
            _server = null;
        }
    }

    public void StartServer(ITeeBackend backend) => _server = TeeServer.Start(backend, Options);

    public async ValueTask DisposeAsync()
    {
        await Guest.DisposeAsync();
        await StopServerAsync();
        Memory.Dispose();
        Directory.Delete(_folder, recursive: true);
    }
}
