using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.HostileGuest;

/// <summary>A VM with one vCPU that does the same without end, and logs nowhere.</summary>
internal sealed class BusyGuest : IAsyncDisposable
{
    private static readonly GuestRange Range = new(0x4000_0000, 32 << 20);

    private readonly MemfdGuestMemory _ram = MemfdGuestMemory.Create(Range);
    private readonly OpTeeGuest _guest;
    private readonly FakeDriver _driver;
    private int _count;

    private BusyGuest(ITeeBackend backend, Func<BusyGuest, Action> work)
    {
        _guest = new OpTeeGuest(_ram, backend);
        _driver = new FakeDriver(_guest, _ram, Range);
        Work = work(this);
    }

    /// <summary>What its vCPU does next.</summary>
    public Action Work { get; }

    /// <summary>Invokes with values and memory; every now and then it opens a session and closes it.</summary>
    public static BusyGuest Good(ITeeBackend backend) => new(backend, guest => guest.DoWell());

    /// <summary>Does what costs the mediator most: driver restarts, long page lists, refusals, forged resumptions,
    /// sessions and buffers up to the limits.</summary>
    public static BusyGuest Hostile(ITeeBackend backend) => new(backend, guest => guest.DoHarm());

    public async ValueTask DisposeAsync()
    {
        await _guest.DisposeAsync();
        _ram.Dispose();
    }

    private Action DoWell()
    {
        const ulong Cookie = 0x1000;
        uint session = Open();
        uint refused = _driver.Register(_driver.AllocatePages(4, 2), 0, 4 * OpTeeMessage.PageSize, Cookie).ReturnCode;
        Assert.That(refused, Is.Zero);
        return () =>
        {
            uint code = _driver.Invoke(session, 0, GuestParameter.ValueInOut(1, 2),
                GuestParameter.RegisteredInOut(0, 0x100, Cookie)).ReturnCode;
            if (_count++ % 16 == 0)
            {
                code |= _driver.CloseSession(Open()).ReturnCode;
            }

            if (code != 0)
            {
                throw new InvalidOperationException($"A good guest got 0x{code:x}.");
            }
        };
    }

    private Action DoHarm()
    {
        const int Pages = 2048;
        ulong[] pages = _driver.AllocatePages(Pages, 1);
        Array.Reverse(pages);
        ulong list = _driver.WritePageList(pages);
        ulong cookie = 1;
        return () =>
        {
            switch (_count++ % 8)
            {
                case 0:
                    _ = _driver.Call(OpTeeSmc.ExchangeCapabilities, 0);
                    break;

                case 1 or 2:
                    _ = _driver.TrySend(new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory,
                        GuestParameter.PageList(list, Pages * OpTeeMessage.PageSize, cookie++)));
                    break;

                case 3:
                    _ = _driver.TrySend(FakeDriver.Opening(Guests.GuestBench.Application, default, 0));
                    break;

                case 4:
                    _ = _driver.Call(OpTeeSmc.ReturnFromRpc, 0, 0, (ulong)_count);
                    break;

                case 5:
                    _ = _driver.Call(OpTeeSmc.CallWithRpcArgument, 0, 8);
                    break;

                case 6:
                    _ = _driver.TrySend(new GuestMessage(OpTeeMessage.CommandCancel) { Session = (uint)_count });
                    break;

                default:
                    _ = _driver.TrySend(Guests.GuestBench.Unregistering((ulong)_count));
                    break;
            }
        };
    }

    private uint Open() => _driver.OpenSession(Guests.GuestBench.Application).Session;
}
