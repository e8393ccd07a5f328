using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.RemoteTests.Soak;

/// <summary>A VM that does what a random number says, with two vCPUs, for some calls.</summary>
internal sealed class SoakVm : IAsyncDisposable
{
    private const ulong RamStart = 0x4000_0000;
    private const ulong RamLength = 8 << 20;
    private const uint CancelId = 7;
    private const int MostSessions = 4;

    private readonly Random _random;
    private readonly uint _waiting;
    private readonly MemfdGuestMemory _memory =
        MemfdGuestMemory.Create(new GuestRange(new GuestAddress(RamStart), RamLength));

    private readonly List<uint> _sessions = [];
    private FakeDriver _driver = null!;
    private FakeDriver _other = null!;
    private ulong _cookie = 0x100;

    /// <param name="backend">Its TEE.</param>
    /// <param name="random">Decides.</param>
    /// <param name="identity">Its durable identity.</param>
    /// <param name="waiting">The command that waits until it is cancelled; those below it end by
    /// themselves.</param>
    public SoakVm(ITeeBackend backend, Random random, Guid identity, uint waiting)
    {
        (_random, _waiting) = (random, waiting);
        Guest = new OpTeeGuest(_memory, backend, new OpTeeGuestOptions
        {
            Identity = identity,
            Limits = new() { Calls = 4 },
            ShutdownDeadline = TimeSpan.FromSeconds(60),
        });
        StartDriver();
    }

    public OpTeeGuest Guest { get; }

    /// <summary>How many calls were made.</summary>
    public int Calls { get; private set; }

    public async Task WorkAsync(int steps)
    {
        for (int step = 0; step < steps; step++)
        {
            Calls++;
            switch (_random.Next(20))
            {
                case 0 or 1 when _sessions.Count < MostSessions:
                    Open();
                    break;

                case 2 when _sessions.Count > 1:
                    uint closed = _sessions[^1];
                    _sessions.RemoveAt(_sessions.Count - 1);
                    _ = _driver.CloseSession(closed);
                    break;

                case 3 or 4:
                    Register();
                    break;

                case 5 or 6:
                    Cancel();
                    break;

                case 7 when _random.Next(4) == 0:
                    // A driver that starts while a call of the earlier one is suspended.
                    _ = Start(_waiting);
                    StartDriver();
                    break;

                case 8:
                    if (await Guest.PauseAsync())
                    {
                        Guest.Resume();
                    }

                    break;

                case 9:
                    _driver.Conduit =
                        _random.Next(2) == 0 ? OpTeeSmc.CallWithArgument : OpTeeSmc.CallWithRpcArgument;
                    break;

                default:
                    _ = _driver.Finish(Start((uint)_random.Next((int)_waiting)));
                    break;
            }
        }

        if (_random.Next(4) == 0)
        {
            // A VM that ends with a call.
            _ = Start(_waiting);
        }
    }

    /// <summary>Opens a session, if a backend that throws has not let the driver open one.</summary>
    public void OpenFirst()
    {
        while (_sessions.Count == 0)
        {
            Open();
        }
    }

    /// <summary>Makes a call that leaves the VM as it was.</summary>
    public void InvokeFirst() => _ = _driver.Finish(Start((uint)_random.Next(2)));

    public async ValueTask DisposeAsync()
    {
        await Guest.DisposeAsync();
        _memory.Dispose();
    }

    private void StartDriver()
    {
        GuestRange half = new(new GuestAddress(RamStart), RamLength / 2);
        _driver = new FakeDriver(Guest, _memory, half) { RpcCookie = 1 };
        _other = new FakeDriver(Guest, _memory, new GuestRange(half.End, half.Length)) { RpcCookie = 2 };
        RpcServices services = new(_driver);
        services.OnSupplicant = new FileSupplicant(services, _memory).Serve;
        _driver.OnRpc = message =>
        {
            // The services record the calls that they serve, which would be memory that grows.
            services.Calls.Clear();
            return services.Serve(message);
        };
        _sessions.Clear();
        _ = _driver.Call(OpTeeSmc.ExchangeCapabilities);
        Open();
    }

    private void Open()
    {
        if (_driver.OpenSession(RemoteBench.Application) is { ReturnCode: 0 } answer)
        {
            _sessions.Add(answer.Session);
        }
    }

    private SmcRegisters Start(uint command) => _driver.Start(new GuestMessage(OpTeeMessage.CommandInvoke)
    {
        Session = _sessions.Count == 0 ? 0 : _sessions[_random.Next(_sessions.Count)],
        Function = command | (uint)_random.Next(0x10000) << 16,
        CancelId = CancelId,
    });

    private void Cancel()
    {
        SmcRegisters call = Start(_waiting);
        foreach (uint session in _sessions)
        {
            _ = _other.Cancel(session, CancelId);
        }

        _ = _driver.Finish(call);
    }

    private void Register()
    {
        ulong[] pages = [.. Enumerable.Range(0, _random.Next(1, 9)).Select(page =>
            RamStart + RamLength - (ulong)((1 + (2 * page)) * OpTeeMessage.PageSize))];
        if (_driver.Register(pages, 0, (ulong)pages.Length * OpTeeMessage.PageSize, ++_cookie).ReturnCode != 0)
        {
            return;
        }

        if (_sessions.Count > 0)
        {
            _ = _driver.Invoke(_sessions[0], 0, GuestParameter.RegisteredInOut(0, 100, _cookie));
        }

        // Every fourth one is left to the end of the driver.
        _ = _random.Next(4) == 0 ? null : _driver.Unregister(_cookie);
    }
}
