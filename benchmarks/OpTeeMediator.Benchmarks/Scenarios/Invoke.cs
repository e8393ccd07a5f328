using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Benchmarks.Scenarios;

/// <summary>INVOKE_COMMAND by CALL_WITH_REGD_ARG, from one or several threads on one VM.</summary>
public sealed class Invoke : Scenario, ISingleCall
{
    private static readonly Guid Application = new("e5a0b9c2-6b8e-4c47-9d9c-3b1f4b7f9a01");

    private readonly Bench _bench;
    private readonly SmcRegisters[] _calls;

    private Invoke(ITeeBackend backend, int threads, Func<FakeDriver, int, GuestParameter[]> parameters)
    {
        _bench = new Bench(backend, threads);
        _calls = new SmcRegisters[threads];
        for (int index = 0; index < threads; index++)
        {
            FakeDriver driver = _bench.Drivers[index];
            ulong cookie = FakeDriver.MessageCookie + (ulong)index;
            Check(driver.Register([driver.MessagePage], 0, OpTeeMessage.PageSize, cookie).ReturnCode);
            GuestMessage opened = driver.OpenSession(Application);
            Check(opened.ReturnCode);
            driver.WriteMessage(
                driver.MessagePage, new GuestMessage(OpTeeMessage.CommandInvoke,
                    parameters(driver, index)) { Session = opened.Session, Function = 7 });
            _calls[index] = Bench.Registers(OpTeeSmc.CallWithRegisteredArgument, cookie, 0);
        }
    }

    /// <summary>Four values, there and back.</summary>
    public static Invoke WithValues(int threads) => new(new ScriptedBackend(), threads, (_, _) => Values);

    /// <summary>Four values to an application that runs on a prepared thread: the way there and back.</summary>
    public static Invoke OnWorker() =>
        new(new ScriptedBackend { Execution = TeeExecution.Worker }, 1, (_, _) => Values);

    /// <summary>Four values to a TEE that answers as it likes.</summary>
    public static Invoke WithValues(ITeeBackend backend) => new(backend, 1, (_, _) => Values);

    /// <summary>No parameters, and an application that calls the guest a number of times.</summary>
    public static Invoke WithRpc(int times) =>
        new(new ScriptedBackend { OnInvoke = times == 0 ? null : request => CallGuestAsync(request, times) }, 1,
            (_, _) => []);

    /// <summary>Four references to four of the registered buffers, four pages each; four buffers at least.</summary>
    public static Invoke WithMemory(int registered) =>
        new(new ScriptedBackend(), 1, (driver, _) => References(driver, registered));

    public ISmcHandler Handler => _bench.Guest;

    public SmcRegisters Registers => _calls[0];

    public override void Run(int operations)
    {
        if (_calls.Length == 1)
        {
            Run(0, operations);
            return;
        }

        Thread[] others = new Thread[_calls.Length - 1];
        for (int index = 0; index < others.Length; index++)
        {
            int call = index + 1;
            others[index] = new Thread(() => Run(call, operations));
            others[index].Start();
        }

        Run(0, operations);
        foreach (Thread other in others)
        {
            other.Join();
        }
    }

    protected override void Dispose(bool disposing)
    {
        _bench.Dispose();
        base.Dispose(disposing);
    }

    private static GuestParameter[] Values =>
        [GuestParameter.ValueInOut(1, 2), GuestParameter.ValueInOut(3, 4), GuestParameter.ValueInOut(5, 6),
            GuestParameter.ValueInOut(7, 8)];

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private static async ValueTask<TeeResult> CallGuestAsync(TeeRequest request, int times)
    {
        GuestServices guest = request.Guest!;
        for (int count = 0; count < times; count++)
        {
            _ = await guest.SuspendAsync(TimeSpan.FromMilliseconds(1));
        }

        return TeeResult.Success;
    }

    private static GuestParameter[] References(FakeDriver driver, int registered)
    {
        const int Pages = 4;
        const ulong Size = Pages * OpTeeMessage.PageSize;
        ulong[] cookies = new ulong[registered];
        for (int index = 0; index < registered; index++)
        {
            cookies[index] = 0xffff_0000_1000_0000 + ((ulong)index * 0x60);
            Check(driver.Register(driver.AllocatePages(Pages, 2), 0, Size, cookies[index]).ReturnCode);
        }

        // Spread over all that are registered; with fewer than four, some are named more than once.
        return
        [
            GuestParameter.RegisteredIn(0, Size, cookies[0]),
            GuestParameter.RegisteredOut(64, 4096, cookies[registered / 4]),
            GuestParameter.RegisteredInOut(4096, 4096, cookies[registered / 2]),
            GuestParameter.RegisteredInOut(0, 128, cookies[registered - 1]),
        ];
    }

    private static void Check(uint code)
    {
        if (code != 0)
        {
            throw new InvalidOperationException($"The benchmark's guest was answered 0x{code:x}.");
        }
    }

    private void Run(int index, int operations)
    {
        OpTeeGuest guest = _bench.Guest;
        ref readonly SmcRegisters call = ref _calls[index];
        for (int count = 0; count < operations; count++)
        {
            Bench.Call(guest, call);
        }
    }
}
