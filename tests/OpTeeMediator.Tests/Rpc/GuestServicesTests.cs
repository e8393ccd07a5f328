using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Rpc;

/// <summary>Each call to the guest in both forms: blocking, on a worker; asynchronous, there and inline.</summary>
[TestFixture(TeeExecution.Worker, true)]
[TestFixture(TeeExecution.Worker, false)]
[TestFixture(TeeExecution.Inline, false)]
internal sealed class GuestServicesTests(TeeExecution execution, bool blocks)
{
    private GuestBench _bench = null!;
    private RpcServices _services = null!;
    private uint _session;

    [SetUp]
    public void SetUp()
    {
        _bench = new GuestBench(backend: new ScriptedBackend { Execution = execution });
        _services = new RpcServices(_bench.Driver);
        _bench.Driver.OnRpc = _services.Serve;
        _session = _bench.Open();
    }

    [TearDown]
    public async Task TearDown()
    {
        Assert.That(await _bench.DisposeGuestAsync(), Is.EqualTo(GuestBench.Nothing));
        await _bench.DisposeAsync();
    }

    [Test]
    public void GetTime_GuestAnswers_IsItsTime()
    {
        GuestAnswer<TimeSpan> time = Ask(guest => guest.GetTime(), guest => guest.GetTimeAsync());

        Assert.That((time.IsSuccess, time.Value), Is.EqualTo((true, TimeSpan.FromSeconds(1_000_000_000.005))));
    }

    [TestCase(0xffff_000au, 1ul, 1ul, TeeReturnCode.NotSupported)]
    [TestCase(0u, (1ul << 35) + 1, 0ul, TeeReturnCode.BadFormat)]
    [TestCase(0u, 0ul, 1_000_000_000ul, TeeReturnCode.BadFormat)]
    public void GetTime_GuestAnswersNone_CodeAlone(uint code, ulong seconds, ulong nanoseconds, TeeReturnCode expected)
    {
        _bench.Driver.OnRpc = message => message with
        {
            ReturnCode = code,
            Parameters = [message.Parameters[0] with { A = seconds, B = nanoseconds }],
        };

        GuestAnswer<TimeSpan> time = Ask(guest => guest.GetTime(), guest => guest.GetTimeAsync());

        Assert.That(time, Is.EqualTo(new GuestAnswer<TimeSpan>(expected, default)));
    }

    [Test]
    public void Suspend_AnyTime_ReachesTheGuestInMilliseconds()
    {
        TimeSpan time = TimeSpan.FromSeconds(1.5);

        TeeReturnCode code = Ask(guest => guest.Suspend(time), guest => guest.SuspendAsync(time));

        Assert.That(code, Is.EqualTo(TeeReturnCode.Success));
        ExpectAsked(OpTeeRpc.Suspend, GuestParameter.ValueIn(1500, 0));
    }

    [Test]
    public void WaitForNotification_AnyNumber_ReachesTheGuest()
    {
        TeeReturnCode code = Ask(guest => guest.WaitForNotification(65), guest => guest.WaitForNotificationAsync(65));

        Assert.That(code, Is.EqualTo(TeeReturnCode.Success));
        ExpectAsked(OpTeeRpc.Notification, GuestParameter.ValueIn(OpTeeRpc.NotificationWait, 65));
    }

    [Test]
    public void SendNotification_AnyNumber_ReachesTheGuest()
    {
        TeeReturnCode code = Ask(guest => guest.SendNotification(254), guest => guest.SendNotificationAsync(254));

        Assert.That(code, Is.EqualTo(TeeReturnCode.Success));
        ExpectAsked(OpTeeRpc.Notification, GuestParameter.ValueIn(OpTeeRpc.NotificationSend, 254));
    }

    [Test]
    public void Call_Parameters_ReachTheGuestAndHoldItsOutputs()
    {
        ulong output = 0;
        _services.OnSupplicant = message =>
            message with { ReturnCode = 0, Parameters = [message.Parameters[0] with { A = 7, B = 8, C = 9 }] };

        TeeReturnCode code = Ask(
            guest =>
            {
                TeeReturnCode answer =
                    guest.Call(OpTeeRpc.Plugin, TeeParameter.Value(TeeParameterKind.ValueInOut, 1, 2, 3));
                output = guest.Parameters[0].A + guest.Parameters[0].B + guest.Parameters[0].C;
                return answer;
            },
            async guest =>
            {
                TeeReturnCode answer =
                    await guest.CallAsync(OpTeeRpc.Plugin, TeeParameter.Value(TeeParameterKind.ValueInOut, 1, 2, 3));
                output = guest.Parameters[0].A + guest.Parameters[0].B + guest.Parameters[0].C;
                return answer;
            });

        Assert.That((code, output), Is.EqualTo((TeeReturnCode.Success, 24ul)));
        ExpectAsked(OpTeeRpc.Plugin, GuestParameter.ValueInOut(1, 2) with { C = 3 });
    }

    [Test]
    public void AnyCall_AfterOneWithMoreParameters_ParametersAreItsOwnAlone()
    {
        TeeParameter[] earlier = new TeeParameter[GuestServices.ParameterCount];
        Array.Fill(earlier, TeeParameter.Value(TeeParameterKind.ValueInOut, 1, 2, 3));
        TeeParameter[] own = Ask(
            guest =>
            {
                _ = guest.Call(OpTeeRpc.Plugin, earlier);
                _ = guest.Suspend(TimeSpan.Zero);
                return guest.Parameters.ToArray();
            },
            async guest =>
            {
                _ = await guest.CallAsync(OpTeeRpc.Plugin, earlier);
                _ = await guest.SuspendAsync(TimeSpan.Zero);
                return guest.Parameters.ToArray();
            });
        TeeParameter[] two = Ask(
            guest =>
            {
                _ = guest.Call(OpTeeRpc.Plugin, earlier);
                _ = guest.Call(OpTeeRpc.Plugin, earlier.AsSpan(0, 2));
                return guest.Parameters.ToArray();
            },
            async guest =>
            {
                _ = await guest.CallAsync(OpTeeRpc.Plugin, earlier);
                _ = await guest.CallAsync(OpTeeRpc.Plugin, earlier.AsSpan(0, 2));
                return guest.Parameters.ToArray();
            });

        Assert.That(
            own,
            Is.EqualTo(new[] { TeeParameter.Value(TeeParameterKind.ValueInput, 0, 0), default, default, default }));
        Assert.That(two, Is.EqualTo(new[] { earlier[0], earlier[1], default, default }));
    }

    [Test]
    public void AllocateAndFree_Memory_ComesFromTheGuestAndGoesBack()
    {
        ulong size = Ask(
            guest =>
            {
                TeeSharedMemory memory = guest.Allocate(GuestMemoryKind.Supplicant, 5000)!;
                return guest.Free(memory) == TeeReturnCode.Success ? memory.Size : 0;
            },
            async guest =>
            {
                TeeSharedMemory memory = (await guest.AllocateAsync(GuestMemoryKind.Supplicant, 5000))!;
                return await guest.FreeAsync(memory) == TeeReturnCode.Success ? memory.Size : 0;
            });

        Assert.That((size, _services.Memory.Count), Is.EqualTo((5000ul, 0)));
        Assert.That(
            _services.Calls.Select(message => message.Command),
            Is.EqualTo([OpTeeRpc.AllocateSharedMemory, OpTeeRpc.FreeSharedMemory]));
    }

    [Test]
    public void AnyCall_ArgumentOutOfRange_ThrowsAndAsksNothing()
    {
        TeeParameter[] five = new TeeParameter[GuestServices.ParameterCount + 1];
        TimeSpan negative = -TimeSpan.FromTicks(1);
        TimeSpan tooLong = TimeSpan.FromMilliseconds(uint.MaxValue + 1.0);
        ExpectRefusal(guest => guest.Call(OpTeeRpc.Plugin, five), guest => guest.CallAsync(OpTeeRpc.Plugin, five));
        ExpectRefusal(guest => guest.Suspend(tooLong), guest => guest.SuspendAsync(tooLong));
        ExpectRefusal(guest => guest.Suspend(negative), guest => guest.SuspendAsync(negative));
        ExpectRefusal(guest => guest.SendNotification(64), guest => guest.SendNotificationAsync(64));
        ExpectRefusal(guest => guest.SendNotification(255), guest => guest.SendNotificationAsync(255));
        ExpectRefusal(guest => guest.WaitForNotification(64), guest => guest.WaitForNotificationAsync(64));
        ExpectRefusal(guest => guest.WaitForNotification(255), guest => guest.WaitForNotificationAsync(255));

        Assert.That(_services.Calls, Is.Empty);
    }

    private T Ask<T>(Func<GuestServices, T> blocking, Func<GuestServices, ValueTask<T>> asynchronous)
    {
        T answer = default!;
        _bench.Backend.OnInvoke = async request =>
        {
            answer = blocks ? blocking(request.Guest!) : await asynchronous(request.Guest!);
            return TeeResult.Success;
        };

        Assert.That(_bench.Driver.Invoke(_session, 0).ReturnCode, Is.Zero);
        return answer;
    }

    private void ExpectRefusal(
        Func<GuestServices, TeeReturnCode> blocking, Func<GuestServices, ValueTask<TeeReturnCode>> asynchronous) =>
        _ = Ask<TeeReturnCode>(
            guest => Refused(() => _ = blocking(guest)),
            guest => new(Refused(() => _ = asynchronous(guest).AsTask())));

    private static TeeReturnCode Refused(Action ask)
    {
        Assert.That(() => ask(), Throws.InstanceOf<ArgumentOutOfRangeException>());
        return default;
    }

    private void ExpectAsked(uint command, GuestParameter parameter)
    {
        GuestMessage asked = _services.Calls.Single();
        Assert.That((asked.Command, asked.Parameters.Single()), Is.EqualTo((command, parameter)));
    }
}
