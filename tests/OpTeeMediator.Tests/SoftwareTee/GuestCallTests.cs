using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>What a trusted application asks of its guest, and what becomes of it when something goes wrong.</summary>
internal sealed class GuestCallTests
{
    [Test]
    public async Task GetTime_GuestAnswers_IsItsTime()
    {
        DateTimeOffset time = default;
        await using GuestCallBench bench = Create(call => call.Guest.GetTime(out time));

        TeeReturnCode code = bench.Invoke();

        Assert.That((code, time),
            Is.EqualTo((TeeReturnCode.Success, DateTimeOffset.FromUnixTimeMilliseconds(1_000_000_000_005))));
    }

    [TestCase(0u, 1ul << 36, 0ul, TeeReturnCode.BadFormat)]
    [TestCase(0u, ulong.MaxValue, 0ul, TeeReturnCode.BadFormat)]
    [TestCase(0u, 0ul, 1_000_000_000ul, TeeReturnCode.BadFormat)]
    [TestCase(0u, 1ul << 35, 999_999_999ul, TeeReturnCode.Success)]
    [TestCase(0xffff_000au, 1ul, 1ul, TeeReturnCode.NotSupported)]
    public async Task GetTime_GuestAnswersAnything_IsChecked(
        uint returned, ulong seconds, ulong nanoseconds, TeeReturnCode expected)
    {
        await using GuestCallBench bench = Create(call => call.Guest.GetTime(out _));
        bench.Driver.OnRpc = message => message
            with { ReturnCode = returned, Parameters = [message.Parameters[0] with { A = seconds, B = nanoseconds }] };

        TeeReturnCode code = bench.Invoke();

        Assert.That(code, Is.EqualTo(expected));
        Assert.That(bench.Panics, Is.Empty);
    }

    [Test]
    public async Task SuspendAndNotify_AnyTime_ReachTheGuest()
    {
        await using GuestCallBench bench = Create(call =>
        {
            TeeReturnCode suspended = call.Guest.Suspend(TimeSpan.FromSeconds(1.5));
            TeeReturnCode sent = call.Guest.SendNotification(70);
            TeeReturnCode waited = call.Guest.WaitForNotification(71);
            return suspended | sent | waited;
        });

        TeeReturnCode code = bench.Invoke();

        Assert.That(code, Is.EqualTo(TeeReturnCode.Success));
        Assert.That(bench.Services.Calls.Select(asked => (asked.Command, asked.Parameters.Single())), Is.EqualTo(new[]
        {
            (OpTeeRpc.Suspend, GuestParameter.ValueIn(1500, 0)),
            (OpTeeRpc.Notification, GuestParameter.ValueIn(OpTeeRpc.NotificationSend, 70)),
            (OpTeeRpc.Notification, GuestParameter.ValueIn(OpTeeRpc.NotificationWait, 71)),
        }));
    }

    [Test]
    public async Task Allocate_UsedInACall_GuestSeesTheContent()
    {
        byte[] read = new byte[2];
        (ulong Size, bool IsRead) answer = default;
        await using GuestCallBench bench = Create(call =>
        {
            using GuestBuffer buffer = call.Guest.Allocate(GuestMemoryKind.Supplicant, 6000)!;
            _ = buffer.TryWrite(4094, [1, 2, 3, 4]);
            Span<TeeParameter> parameters = [TeeParameter.Value(TeeParameterKind.ValueInOut, 1, 2),
                buffer.AsParameter(TeeParameterKind.MemoryInOut, 4090, 100)];
            TeeReturnCode code = call.Guest.Call(OpTeeRpc.Plugin, parameters);
            answer = (parameters[1].Size + parameters[0].A, parameters[1].TryRead(6, read));
            return code;
        });
        GuestMessage asked = new(0);
        bench.Services.OnSupplicant = message =>
        {
            asked = message;
            return message with { ReturnCode = 0,
                Parameters = [message.Parameters[0] with { A = 100 }, message.Parameters[1] with { B = 50 }] };
        };

        TeeReturnCode code = bench.Invoke();

        Assert.That(code, Is.EqualTo(TeeReturnCode.Success));
        Assert.That(asked.Parameters[1],
            Is.EqualTo(GuestParameter.RegisteredInOut(4090, 100, RpcServices.FirstCookie)));
        Assert.That(answer, Is.EqualTo((150ul, true)));
        Assert.That(read, Is.EqualTo([3, 4]), "The second page, from its start.");
        Assert.That(bench.Services.Memory, Is.Empty);
    }

    [TestCase(TeeReturnCode.Success, 101ul, TeeReturnCode.Security)]
    [TestCase(TeeReturnCode.Success, ulong.MaxValue, TeeReturnCode.Security)]
    [TestCase(TeeReturnCode.ShortBuffer, 101ul, TeeReturnCode.ShortBuffer)]
    [TestCase(TeeReturnCode.Success, 100ul, TeeReturnCode.Success)]
    public async Task Call_GuestClaimsASize_MoreThanFitsIsNoSuccess(
        TeeReturnCode returned, ulong size, TeeReturnCode expected)
    {
        await using GuestCallBench bench = Create(call =>
        {
            using GuestBuffer buffer = call.Guest.Allocate(GuestMemoryKind.Supplicant, 100)!;
            return call.Guest.Call(OpTeeRpc.LoadApplication, [TeeParameter.Value(TeeParameterKind.ValueInput, 1, 2),
                buffer.AsParameter(TeeParameterKind.MemoryOutput, 0, 100)]);
        });
        bench.Services.OnSupplicant = message => message with { ReturnCode = (uint)returned,
            Parameters = [message.Parameters[0], message.Parameters[1] with { B = size }] };

        Assert.That(bench.Invoke(), Is.EqualTo(expected));
    }

    [Test]
    public async Task Call_NullReference_LearnsTheSize()
    {
        ulong size = 0;
        await using GuestCallBench bench = Create(call =>
        {
            Span<TeeParameter> parameters = [TeeParameter.Value(TeeParameterKind.ValueInput, 1, 2),
                TeeParameter.Reference(TeeParameterKind.MemoryOutput, null, 0, 0)];
            TeeReturnCode code = call.Guest.Call(OpTeeRpc.LoadApplication, parameters);
            size = parameters[1].Size;
            return code;
        });
        bench.Services.OnSupplicant = message => message
            with { ReturnCode = 0, Parameters = [message.Parameters[0], message.Parameters[1] with { B = 12345 }] };

        Assert.That((bench.Invoke(), size), Is.EqualTo((TeeReturnCode.Success, 12345ul)));
    }

    [Test]
    public async Task Allocate_NotFreed_IsGivenBack()
    {
        await using GuestCallBench bench = Create(call =>
        {
            _ = call.Guest.Allocate(GuestMemoryKind.Kernel, 5000);
            return call.Guest.Allocate(GuestMemoryKind.Supplicant, 1) is null ? TeeReturnCode.OutOfMemory
                : TeeReturnCode.Success;
        });

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(bench.Services.Memory, Is.Empty);
        Assert.That(
            bench.Services.Calls.Where(asked => asked.Command == OpTeeRpc.FreeSharedMemory)
                .Select(asked => (GuestMemoryKind)asked.Parameters[0].A),
            Is.EquivalentTo([GuestMemoryKind.Kernel, GuestMemoryKind.Supplicant]));
        Assert.That(bench.Guest.Status.Buffers, Is.Zero);
    }

    [Test]
    public async Task Allocate_ApplicationPanics_IsGivenBack()
    {
        await using GuestCallBench bench = Create(call =>
        {
            _ = call.Guest.Allocate(GuestMemoryKind.Supplicant, 5000);
            throw new FormatException();
        });

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.TargetDead));
        Assert.That(bench.Services.Memory, Is.Empty);
        Assert.That(bench.Guest.Status.Buffers, Is.Zero);
    }

    [Test]
    public async Task Allocate_KeptForTheNextCommand_CannotBeUsed()
    {
        GuestBuffer? kept = null;
        await using GuestCallBench bench = Create(call =>
        {
            bool isFirst = kept is null;
            kept ??= call.Guest.Allocate(GuestMemoryKind.Supplicant, 5000);
            return isFirst || kept!.TryRead(0, new byte[1]) ? TeeReturnCode.Success : TeeReturnCode.Generic;
        });
        _ = bench.Invoke();

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.TargetDead));
        Assert.That(bench.Panics.Single(), Is.InstanceOf<ObjectDisposedException>());
        Assert.That(() => kept!.Dispose(), Throws.Nothing);
    }

    [TestCaseSource(nameof(Misuses))]
    public async Task Guest_Misused_IsAPanic(Func<ApplicationCall, TeeReturnCode> misuse, Type expected)
    {
        await using GuestCallBench bench = Create(misuse);

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.TargetDead));
        Assert.That(bench.Panics.Single(), Is.InstanceOf(expected));
        Assert.That(bench.Services.Memory, Is.Empty);
    }

    private static IEnumerable<TestCaseData<Func<ApplicationCall, TeeReturnCode>, Type>> Misuses() =>
    [
        new(call => call.Guest.WaitForNotification(GuestServices.FirstNotification - 1),
            typeof(ArgumentOutOfRangeException)) { TestName = "NotificationOfTheMediator" },
        new(call => call.Guest.SendNotification(GuestServices.LastNotification + 1),
            typeof(ArgumentOutOfRangeException)) { TestName = "NotificationTooHigh" },
        new(call => call.Guest.Suspend(TimeSpan.FromTicks(-1)),
            typeof(ArgumentOutOfRangeException)) { TestName = "SuspendNegative" },
        new(call => call.Guest.Suspend(TimeSpan.MaxValue),
            typeof(ArgumentOutOfRangeException)) { TestName = "SuspendTooLong" },
        new(call => call.Wait(TimeSpan.FromSeconds(-2)),
            typeof(ArgumentOutOfRangeException)) { TestName = "WaitNegative" },
        new(call => call.Guest.Call(OpTeeRpc.FreeSharedMemory, [TeeParameter.Value(TeeParameterKind.ValueInput, 0, 7)]),
            typeof(ArgumentException)) { TestName = "FreeByHand" },
        new(call => call.Guest.Call(OpTeeRpc.AllocateSharedMemory, []),
            typeof(ArgumentException)) { TestName = "AllocateByHand" },
        new(call => call.Guest.Call(OpTeeRpc.Plugin, new TeeParameter[5]),
            typeof(ArgumentException)) { TestName = "FiveParameters" },
        new(call => call.Guest.Allocate(GuestMemoryKind.Kernel, 0) is null ? default : TeeReturnCode.Generic,
            typeof(ArgumentOutOfRangeException)) { TestName = "AllocateNothing" },
        new(call => call.Guest
            .Allocate(GuestMemoryKind.Kernel, 10)!.AsParameter(TeeParameterKind.MemoryInput, 5, 6).IsMemory ? default
            : TeeReturnCode.Generic, typeof(ArgumentOutOfRangeException)) { TestName = "ReferenceTooLong" },
        new(call => call.Guest
            .Allocate(GuestMemoryKind.Kernel, 10)!.AsParameter(TeeParameterKind.MemoryInput, -1, 1).IsMemory ? default
            : TeeReturnCode.Generic, typeof(ArgumentOutOfRangeException)) { TestName = "ReferenceBefore" },
    ];

    [Test]
    public async Task Guest_InlineApplication_PanicsAndSaysWhatToDo([Values] bool waits)
    {
        await using GuestCallBench bench = Create(
            call => waits ? call.Wait(TimeSpan.FromSeconds(1)) : call.Guest.GetTime(out _),
            SoftwareTeeBench.PerSession with { Execution = TeeExecution.Inline });

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.TargetDead));
        Assert.That(bench.Panics.Single().Message, Does.Contain("declare Execution = Worker"));
        Assert.That(bench.Services.Calls, Is.Empty);
    }

    [Test]
    public async Task Guest_BetweenOperations_Throws()
    {
        ApplicationCall? kept = null;
        await using GuestCallBench bench = Create(call =>
        {
            kept = call;
            return TeeReturnCode.Success;
        });
        _ = bench.Invoke();

        Assert.That(() => kept!.Guest.GetTime(out _), Throws.InvalidOperationException);
    }

    [Test]
    public async Task Guest_WhileASessionIsOpened_Answers()
    {
        TeeReturnCode code = TeeReturnCode.Generic;
        ScriptedApplication application = new()
        {
            WhenOpened = call =>
            {
                using GuestBuffer? buffer = call.Guest.Allocate(GuestMemoryKind.Kernel, 10);
                return code = call.Guest.GetTime(out _);
            },
        };
        await using GuestCallBench bench = Create(_ => TeeReturnCode.Success, create: () => application);

        Assert.That(code, Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public async Task Guest_WhileASessionIsClosed_AnswersAndOtherSessionsGoOn()
    {
        TeeReturnCode code = TeeReturnCode.Generic;
        await using GuestCallBench bench = Create(_ => TeeReturnCode.Success, SoftwareTeeBench.MultiSession);
        bench.Application!.WhenClosed = call =>
        {
            using GuestFile? file = call.Guest.Files.Create("state", out code);
            code |= file!.Write(0, "kept"u8);
        };
        uint other = bench.Open(SoftwareTeeBench.MultiSession.Uuid);

        uint closed = bench.Driver.CloseSession(bench.Session).ReturnCode;

        Assert.That((closed, code), Is.EqualTo((0u, TeeReturnCode.Success)));
        Assert.That(bench.Supplicant.Files["state"], Is.EqualTo("kept"u8.ToArray()));
        Assert.That(bench.Driver.Invoke(other, 0).ReturnCode, Is.Zero);
        Assert.That(bench.Supplicant.Open, Is.Zero);
    }

    [Test]
    public async Task Guest_AfterAnAwait_Answers()
    {
        await using GuestCallBench bench = new(SoftwareTeeBench.PerSession, async call =>
        {
            await Task.Delay(2, call.CancellationToken);
            _ = call.Guest.Files.Create("left open", out TeeReturnCode created);
            await Task.Yield();
            return call.Guest.GetTime(out _) | created;
        });

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(bench.Supplicant.Open, Is.Zero);
    }

    [Test]
    public async Task Invoke_InstanceWaitsForItsGuest_OthersWaitTheirTurnAndOtherApplicationsGoOn()
    {
        await using GuestCallBench bench = Create(call => call.Guest.GetTime(out _), SoftwareTeeBench.MultiSession);
        uint second = bench.Open(SoftwareTeeBench.MultiSession.Uuid);
        uint other = bench.Open(GuestCallBench.Other);
        PendingCall first = bench.StartUntilCommand(bench.Session, command: 1);

        PendingCall waiting = bench.Start(second, command: 2);
        uint elsewhere = bench.Driver.Invoke(other, 0).ReturnCode;

        Assert.That(waiting.Registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt),
            "It should not hold the vCPU.");
        Assert.That(elsewhere, Is.Zero);
        Assert.That(bench.Application!.Journal, Does.Not.Contain("InvokeCommand 2"));
        Assert.That((bench.Finish(first), bench.Finish(waiting)),
            Is.EqualTo((TeeReturnCode.Success, TeeReturnCode.Success)));
    }

    [Test]
    public async Task Cancel_WaitsForAnInstanceThatWaitsForItsGuest_IsCancelled()
    {
        await using GuestCallBench bench = Create(call => call.Guest.GetTime(out _), SoftwareTeeBench.MultiSession);
        uint second = bench.Open(SoftwareTeeBench.MultiSession.Uuid);
        PendingCall first = bench.StartUntilCommand(bench.Session, command: 1);
        PendingCall waiting = bench.Start(second, command: 2);

        _ = bench.Driver.Cancel(second, cancelId: 2);

        Assert.That(bench.Finish(waiting), Is.EqualTo(TeeReturnCode.Cancel));
        Assert.That(bench.Finish(first), Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public async Task Dispose_GuestHasTheCall_ApplicationsAreToldThatItIsGone()
    {
        List<TeeReturnCode> told = [];
        await using GuestCallBench bench = Create(call =>
        {
            using GuestBuffer? buffer = call.Guest.Allocate(GuestMemoryKind.Kernel, 10);
            told.Add(call.Guest.GetTime(out _));
            told.Add(call.Guest.Suspend(TimeSpan.FromSeconds(1)));
            told.Add(call.Guest.Files.Remove("file"));
            return TeeReturnCode.Success;
        }, SoftwareTeeBench.MultiSession);
        PendingCall call = bench.StartUntilCommand(bench.Session);
        bench.Driver.WriteMessage(call.Page + OpTeeMessage.HeaderSize, bench.Services.Serve(bench.Asked(call)));
        SmcRegisters registers = bench.Resume(call.Registers);
        while ((uint)registers.X0 != OpTeeSmc.ReturnRpcCommand)
        {
            registers = bench.Resume(registers);
        }

        await bench.Guest.DisposeAsync();

        Assert.That(told,
            Is.EqualTo([TeeReturnCode.Communication, TeeReturnCode.Communication, TeeReturnCode.OutOfMemory]));
        Assert.That(bench.Application!.Journal, Does.Contain("CloseSession").And.Contain("Destroy"));
        Assert.That(bench.Panics, Is.Empty);
    }

    [Test]
    public async Task ExchangeCapabilities_GuestHasTheCall_NewDriverFindsTheInstanceFree()
    {
        TaskCompletionSource<TeeReturnCode> told = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using GuestCallBench bench = Create(call =>
        {
            TeeReturnCode code = call.Guest.GetTime(out _);
            _ = told.TrySetResult(code);
            return code;
        }, SoftwareTeeBench.KeepAlive);
        _ = bench.StartUntilCommand(bench.Session);

        _ = bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0);
        TeeReturnCode first = await told.Task.WaitAsync(TimeSpan.FromSeconds(30));
        uint session = bench.Open(SoftwareTeeBench.KeepAlive.Uuid);

        Assert.That(first, Is.EqualTo(TeeReturnCode.Communication));
        Assert.That(bench.Driver.Invoke(session, 0).ReturnCode, Is.Zero);
    }

    private static GuestCallBench Create(
        Func<ApplicationCall, TeeReturnCode> whenInvoked, TrustedApplicationManifest? manifest = null,
        Func<ScriptedApplication>? create = null) =>
        new(manifest ?? SoftwareTeeBench.PerSession, call => new(whenInvoked(call)), create: create);
}
