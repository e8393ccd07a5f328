using System.Collections.Concurrent;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.State;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Tests.Linux;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.State;

/// <summary>What a guest finds after it was saved and restored: everything as it was, at a new mediator.</summary>
internal sealed class SavedGuestTests
{
    private static readonly OpTeeStateOptions s_encrypted = new() { Key = new byte[OpTeeStateOptions.KeyLength] };

    [Test]
    public async Task RestoreAsync_SessionsWithState_GoOnUnderTheirIds([Values] bool isEncrypted)
    {
        await using MovingVm vm = new();
        uint first = vm.Open();
        uint closed = vm.Open();
        uint second = vm.Open(CountingApplication.Single);
        uint third = vm.Open(CountingApplication.Single);
        _ = vm.Driver.CloseSession(closed);
        _ = (vm.Add(first, 2), vm.Add(second, 3), vm.Add(third, 4));
        OpTeeGuestStatus before = vm.Guest.Status;

        await vm.MoveAsync(isEncrypted ? s_encrypted : null);

        Assert.That(vm.Guest.Status, Is.EqualTo(before));
        Assert.That(vm.Add(first, 10), Is.EqualTo((12UL, 12UL)));
        Assert.That(vm.Add(second, 10), Is.EqualTo((17UL, 13UL)));
        Assert.That(vm.Add(third, 10), Is.EqualTo((27UL, 14UL)));
        Assert.That(vm.Driver.Invoke(closed, 1).ReturnCode, Is.Not.Zero, "Its id is of no session.");
        Assert.That(vm.Open(), Is.Not.EqualTo(closed), "Ids are not used again at once.");
    }

    [Test]
    public async Task RestoreAsync_InstanceKeptAliveWithoutSession_IsThere()
    {
        await using MovingVm vm = new();
        uint session = vm.Open(CountingApplication.Single);
        _ = vm.Add(session, 5);
        _ = vm.Driver.CloseSession(session);

        await vm.MoveAsync();

        Assert.That(vm.Add(vm.Open(CountingApplication.Single), 1), Is.EqualTo((6UL, 1UL)));
    }

    [Test]
    public async Task RestoreAsync_RegisteredMemory_IsUsableUnderItsCookie([Values] bool isContiguous)
    {
        await using MovingVm vm = new();
        ulong[] pages = vm.Driver.AllocatePages(3, isContiguous ? 1 : 2);
        _ = vm.Driver.Register(pages, 100, 9000, 0x1234);
        vm.Driver.Write<byte>(pages[0] + 100, [1, 2, 3]);
        uint session = vm.Open();
        OpTeeGuestStatus before = vm.Guest.Status;

        await vm.MoveAsync();
        uint answer = vm.Driver.Invoke(session, CountingApplication.Copy,
            GuestParameter.RegisteredIn(0, 3, 0x1234), GuestParameter.RegisteredOut(3996, 3, 0x1234)).ReturnCode;

        byte[] copied = new byte[3];
        vm.Driver.Read<byte>(pages[1], copied);
        Assert.That((answer, vm.Guest.Status), Is.EqualTo((0u, before)));
        Assert.That(copied, Is.EqualTo(new byte[] { 2, 3, 4 }));
        Assert.That(vm.Driver.Unregister(0x1234).ReturnCode, Is.Zero);
        Assert.That(vm.Guest.Status.SharedPages, Is.Zero);
    }

    [Test]
    public async Task RestoreAsync_BackendThatKeepsRegistrations_HasThemAgain()
    {
        List<ScriptedBackend> backends = [];
        await using MovingVm vm = new(() =>
        {
            backends.Add(new ScriptedBackend());
            return backends[^1];
        });
        _ = vm.Driver.Register(vm.Driver.AllocatePages(2, 2), 0, 8192, 1);
        _ = vm.Driver.Register(vm.Driver.AllocatePages(2, 2), 0, 8192, 2);
        _ = vm.Driver.Unregister(1);

        await vm.MoveAsync();

        Assert.That((backends[0].RegisteredBuffers, backends[1].RegisteredBuffers), Is.EqualTo((0, 1)));
    }

    [Test]
    public async Task RestoreAsync_DeviceEnumerationAndRandomNumbers_GoOn()
    {
        await using MovingVm vm = new();
        uint devices = vm.Driver.OpenSession(new Guid("7011a688-ddde-4053-a5a9-7b3c4ddf13b8")).Session;
        uint first = vm.Driver.OpenSession(SoftwareTeeBackend.RandomNumberGeneratorUuid)
            .Session;
        uint second = vm.Driver.OpenSession(SoftwareTeeBackend.RandomNumberGeneratorUuid)
            .Session;

        await vm.MoveAsync();

        foreach (uint session in (uint[])[first, second])
        {
            Assert.That(vm.Driver.Invoke(session, 1, GuestParameter.ValueOut()).ReturnCode, Is.Zero);
            Assert.That(vm.Driver.CloseSession(session).ReturnCode, Is.Zero);
        }

        Assert.That(
            (TeeReturnCode)vm.Driver.Invoke(devices, 0,
                GuestParameter.Temporary(OpTeeMessage.TypeTemporaryOutput, 0, 0, 0)).ReturnCode,
            Is.EqualTo(TeeReturnCode.ShortBuffer));
    }

    [Test]
    public async Task RestoreAsync_CachedRpcMemory_IsUsedAndGivenBack()
    {
        await using MovingVm vm = new();
        vm.Driver.Conduit = OpTeeSmc.CallWithArgument;
        Assert.That(vm.Driver.Call(OpTeeSmc.EnableShmCache).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        uint session = vm.Open();
        _ = vm.Driver.Send(MovingVm.Adding(session, 1, CountingApplication.AddAfterTime));
        ulong cookie = vm.Driver.RpcMemory.Keys.Single();

        await vm.MoveAsync();
        _ = vm.Driver.Send(MovingVm.Adding(session, 1, CountingApplication.AddAfterTime));
        SmcRegisters answer = vm.Driver.Call(OpTeeSmc.DisableShmCache);

        Assert.That((answer.X0, answer.Pair(1, 2)), Is.EqualTo(((ulong)OpTeeSmc.ReturnOk, cookie)));
        Assert.That(vm.Driver.RpcMemory, Has.Count.EqualTo(1));
    }

    [Test]
    public async Task RestoreAsync_UntilResume_NothingBegins()
    {
        await using MovingVm vm = new();
        uint session = vm.Open();
        await vm.RestoreAsync(await vm.SaveAsync());

        PendingCall held = vm.Start(MovingVm.Adding(session, 1));
        vm.Guest.Resume();

        Assert.That((uint)held.Registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That(vm.Finish(held).ReturnCode, Is.Zero);
    }

    [Test]
    public async Task SaveAsync_VmGoesOn_NothingHasChanged()
    {
        await using MovingVm vm = new();
        uint session = vm.Open();
        _ = vm.Add(session, 1);

        byte[] first = await vm.SaveAsync();
        byte[] second = await vm.Guest.SaveAsync(new OpTeeStateOptions());
        vm.Guest.Resume();

        Assert.That(second, Is.EqualTo(first));
        Assert.That(vm.Add(session, 1), Is.EqualTo((2UL, 2UL)));
    }

    [Test]
    public async Task SaveAsync_NotPaused_Throws()
    {
        await using MovingVm vm = new();

        Assert.That(
            () => vm.Guest.SaveAsync(new OpTeeStateOptions()),
            Throws.InvalidOperationException.With.Message.Contains("PauseAsync"));
    }

    [Test]
    public async Task SaveAsync_SessionThatCannotMove_IsRefusedAndSaysWhich()
    {
        await using MovingVm vm = new(static () => new ScriptedBackend());
        uint session = vm.Driver.OpenSession(GuestBench.Application).Session;

        OpTeeStateException? exception = Assert.ThrowsAsync<OpTeeStateException>(() => vm.SaveAsync());
        vm.Guest.Resume();

        Assert.That(exception!.Message, Does.Contain(GuestBench.Application.ToString()));
        Assert.That(vm.Driver.Invoke(session, 0).ReturnCode, Is.Zero, "The VM goes on.");
    }

    [Test]
    public async Task SaveAsync_ApplicationsAreDropped_OneLogEntryNamesSomeAndTheNumberOfAll()
    {
        const int Applications = 100;
        ListLoggerFactory log = new();
        await using MovingVm vm = new(
            static () => new ScriptedBackend(),
            new OpTeeGuestOptions { LoggerFactory = log, Limits = new() { Sessions = Applications + 2 } });
        for (int index = 0; index < 3; index++)
        {
            _ = vm.Driver.OpenSession(GuestBench.Application);
        }

        for (int index = 1; index < Applications; index++)
        {
            _ = vm.Driver.OpenSession(Guid.NewGuid());
        }

        Assert.That(() => vm.SaveAsync(), Throws.TypeOf<OpTeeStateException>());
        Assert.That(log.EventIds, Has.None.EqualTo(1203), "nothing is dropped yet");
        _ = await vm.SaveAsync(new OpTeeStateOptions { DropsWhatCannotMove = true });

        string entry = log.Entries.Single(one => one.EventId == 1203).Message;
        Assert.That(entry, Does.Contain($"without {Applications + 2} calls and sessions"));
        Assert.That(entry, Does.Contain($"{GuestBench.Application} (3), ").And.Contain("and 92 others"));
        Assert.That(entry, Has.Length.LessThan(700), "a guest does not decide how long it is");
    }

    [Test]
    public async Task RestoreAsync_SessionThatWasDropped_IsDeadAndCanBeClosed()
    {
        await using MovingVm vm = new(static () => new ScriptedBackend());
        uint session = vm.Driver.OpenSession(GuestBench.Application).Session;

        await vm.MoveAsync(new OpTeeStateOptions { DropsWhatCannotMove = true });
        GuestMessage answer = vm.Driver.Invoke(session, 0);
        await vm.MoveAsync();

        Assert.That(
            ((TeeReturnCode)answer.ReturnCode, (TeeOrigin)answer.ReturnOrigin),
            Is.EqualTo((TeeReturnCode.TargetDead, TeeOrigin.Tee)));
        Assert.That(vm.Driver.CloseSession(session).ReturnCode, Is.Zero);
        Assert.That(vm.Guest.Status.Sessions, Is.Zero);
    }

    [Test]
    public async Task RestoreAsync_ApplicationThatHasPanicked_StaysDead()
    {
        await using MovingVm vm = new();
        uint session = vm.Open();
        _ = vm.Driver.Invoke(session, CountingApplication.Panic);

        await vm.MoveAsync();

        Assert.That((TeeReturnCode)vm.Driver.Invoke(session, 1).ReturnCode, Is.EqualTo(TeeReturnCode.TargetDead));
        Assert.That(vm.Driver.CloseSession(session).ReturnCode, Is.Zero);
    }

    [Test]
    public async Task RestoreAsync_OtherVm_IsRefused()
    {
        await using MovingVm vm = new();
        byte[] state = await vm.SaveAsync();
        vm.Options = vm.Options with { Identity = Guid.NewGuid() };

        Assert.That(
            () => vm.RestoreAsync(state),
            Throws.TypeOf<OpTeeStateException>().With.Message.Contains(MovingVm.Identity.ToString()));
    }

    [Test]
    public async Task RestoreAsync_OtherKeyOrNone_IsRefused()
    {
        await using MovingVm vm = new();
        byte[] plain = await vm.SaveAsync();
        byte[] encrypted = await vm.Guest.SaveAsync(s_encrypted);
        byte[] otherKey = new byte[OpTeeStateOptions.KeyLength];
        otherKey[0] = 1;

        Assert.That(() => vm.RestoreAsync(plain, s_encrypted), Throws.TypeOf<OpTeeStateException>());
        Assert.That(() => vm.RestoreAsync(encrypted), Throws.TypeOf<OpTeeStateException>());
        Assert.That(
            () => vm.RestoreAsync(encrypted, new OpTeeStateOptions { Key = otherKey }),
            Throws.TypeOf<OpTeeStateException>());
        Assert.That(
            () => vm.RestoreAsync(plain, new OpTeeStateOptions { Key = new byte[5] }), Throws.ArgumentException);
    }

    [Test]
    public async Task RestoreAsync_LessThanTheGuestKnows_IsRefused()
    {
        await using MovingVm vm = new(options: new OpTeeGuestOptions { NotificationInterrupt = new CountingLine() });
        _ = vm.Driver.Register(vm.Driver.AllocatePages(130, 2), 0, 130 * 4096, 1);
        _ = vm.Driver.Register(vm.Driver.AllocatePages(1, 2), 0, 4096, 2);
        _ = (vm.Open(), vm.Open());
        byte[] state = await vm.SaveAsync();
        OpTeeGuestOptions same = vm.Options;
        OpTeeLimits limits = same.Limits;
        OpTeeGuestOptions[] lesser =
        [
            same with { Capabilities = OpTeeCapabilities.DynamicSharedMemory },
            same with { NotificationInterrupt = null },
            same with { ReservedSharedMemory = new GuestRange(GuestBench.FreePages, 8192) },
            same with { Limits = limits with { Calls = limits.Calls - 1 } },
            same with { Limits = limits with { PagesPerBuffer = 130, Pages = 130 } },
            same with { Limits = limits with { PagesPerBuffer = 128 } },
            same with { Limits = limits with { Buffers = 1 } },
            same with { Limits = limits with { Sessions = 1 } },
        ];

        foreach (OpTeeGuestOptions options in lesser)
        {
            vm.Options = options;
            Assert.That(() => vm.RestoreAsync(state), Throws.TypeOf<OpTeeStateException>(), options.ToString());
        }

        vm.Options = same;
        await vm.RestoreAsync(state);
    }

    [Test]
    public async Task RestoreAsync_FailsOrIsNotResumed_ApplicationsAreNotToldOfAnEnd()
    {
        await using MovingVm vm = new();
        _ = (vm.Open(), vm.Open(CountingApplication.Single));
        _ = vm.Driver.AllocatePages(64, 1);
        _ = vm.Driver.Register(vm.Driver.AllocatePages(4, 2), 0, 16384, 1);
        byte[] state = await vm.SaveAsync();
        using MemfdGuestMemory small = MemfdGuestMemory.Create(new GuestRange(GuestBench.RamStart, 64 * 4096));
        ConcurrentQueue<string> ends = new();

        Assert.That(() => RestoreAsync(vm.Memory, refuses: true), Throws.TypeOf<OpTeeStateException>());
        Assert.That(() => RestoreAsync(small, refuses: false), Throws.TypeOf<OpTeeStateException>());
        await (await RestoreAsync(vm.Memory, refuses: false)).DisposeAsync();
        Assert.That(ends, Is.Empty);
        OpTeeGuest restored = await RestoreAsync(vm.Memory, refuses: false);
        restored.Resume();
        await restored.DisposeAsync();

        Assert.That(ends, Is.EquivalentTo(
            (string[])["CloseSession", "Destroy", "CloseSession", "Destroy"]), "it has been here");

        Task<OpTeeGuest> RestoreAsync(MemfdGuestMemory memory, bool refuses) => OpTeeGuest.RestoreAsync(
            memory,
            new SoftwareTeeBackend(new SoftwareTeeOptions()
                .Add(CountingApplication.PerSession, () => new CountingApplication { OnEnd = ends.Enqueue })
                .Add(
                    CountingApplication.Single,
                    () => new CountingApplication { OnEnd = ends.Enqueue, RefusesState = refuses })),
            vm.Options, state, new OpTeeStateOptions());
    }

    [Test]
    public async Task RestoreAsync_MemoryIsSmaller_IsRefused()
    {
        await using MovingVm vm = new();
        _ = vm.Driver.AllocatePages(64, 1);
        _ = vm.Driver.Register(vm.Driver.AllocatePages(4, 2), 0, 16384, 1);
        byte[] state = await vm.SaveAsync();
        using MemfdGuestMemory small = MemfdGuestMemory.Create(new GuestRange(GuestBench.RamStart, 64 * 4096));

        Assert.That(
            () => OpTeeGuest.RestoreAsync(small, vm.CreateTee(), vm.Options, state, new OpTeeStateOptions()),
            Throws.TypeOf<OpTeeStateException>().With.Message.Contains("memory"));
    }
}
