using System.Collections.Concurrent;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Linux;
using OpTeeMediator.SoftwareTee.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;
using OpTeeMediator.State;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Tests.Samples;

namespace OpTeeMediator.Tests.State;

/// <summary>A VM that was saved and goes on elsewhere: what its mediator here gives back, and what it leaves
/// alone.</summary>
internal sealed class AbandonedGuestTests
{
    private const ulong Cookie = 0x1234;

    private static readonly GuestRange Ram = new(GuestBench.RamStart, GuestBench.RamLength);

    [Test]
    public async Task AbandonAsync_SavedVm_AllIsGivenBackAndApplicationsAreNotToldOfAnEnd()
    {
        ConcurrentQueue<string> ends = new();
        await using MovingVm vm = new(() => new SoftwareTeeBackend(new SoftwareTeeOptions()
            .Add(CountingApplication.PerSession, Create)
            .Add(CountingApplication.Single, Create)));
        uint session = vm.Open();
        uint closed = vm.Open(CountingApplication.Single);
        _ = vm.Driver.CloseSession(closed);
        ends.Clear();
        _ = vm.Driver.Register(vm.Driver.AllocatePages(3, 2), 0, 3 * 4096, Cookie);
        Assert.That(await vm.Guest.DrainAsync());
        PendingCall held = vm.Start(MovingVm.Adding(session, 5));
        byte[] state = await vm.SaveAsync();

        await vm.Guest.AbandonAsync();

        Assert.That(vm.Guest.Status, Is.EqualTo(GuestBench.Nothing));
        Assert.That(vm.Memory.TryDiscard(Ram), "no page is pinned");
        Assert.That(ends, Is.Empty);
        Assert.That(() => vm.Guest.Resume(), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => vm.Guest.AbandonAsync(), Throws.TypeOf<ObjectDisposedException>());

        // The call that was held has not begun here; it begins where the VM goes on.
        await vm.RestoreAsync(state);
        vm.Guest.Resume();
        Assert.That(vm.Step(held).Registers.X0, Is.EqualTo((ulong)OpTeeSmc.ReturnOk));
        Assert.That(vm.Add(session, 1), Is.EqualTo((6UL, 6UL)));

        CountingApplication Create() => new() { OnEnd = ends.Enqueue };
    }

    [Test]
    public async Task AbandonAsync_TeeThatCannotSave_ItsSessionsAreClosedAndItsBuffersUnregistered()
    {
        ScriptedBackend backend = new();
        await using MovingVm vm = new(() => backend);
        _ = vm.Driver.OpenSession(GuestBench.Application);
        _ = vm.Driver.Register(vm.Driver.AllocatePages(2, 2), 0, 8192, Cookie);
        Assert.That(await vm.Guest.PauseAsync());
        _ = await vm.Guest.SaveAsync(new OpTeeStateOptions { DropsWhatCannotMove = true });

        await vm.Guest.AbandonAsync();

        Assert.That((backend.OpenSessions, backend.RegisteredBuffers, backend.Disposals), Is.EqualTo((0, 0, 1)));
        Assert.That(vm.Memory.TryDiscard(Ram), "no page is pinned");
    }

    [Test]
    public async Task AbandonAsync_NotPaused_ThrowsAndVmGoesOn([Values] bool wasResumed)
    {
        await using MovingVm vm = new();
        uint session = vm.Open();
        if (wasResumed)
        {
            _ = await vm.SaveAsync();
            vm.Guest.Resume();
        }

        Assert.That(
            () => vm.Guest.AbandonAsync(), Throws.InvalidOperationException.With.Message.Contains("PauseAsync"));
        Assert.That(vm.Add(session, 1), Is.EqualTo((1UL, 1UL)));
    }

    // As it goes on elsewhere, an application that is freed here must not change what it has kept.
    [Test]
    public async Task AbandonAsync_ApplicationWritesWhenItIsFreed_StorageKeepsWhatItHadWhenTheVmWasSaved()
    {
        using StorageFolder storage = new();
        ConcurrentQueue<TeeReturnCode> attempts = new();
        await using MovingVm vm = new(() => storage.CreateTee(attempts.Enqueue));
        uint session = vm.Open(KeepingApplication.Manifest);
        Assert.That(Keep(vm, session, 7), Is.Zero);
        byte[] state = await vm.SaveAsync();

        await vm.Guest.AbandonAsync();
        await vm.RestoreAsync(state);
        vm.Guest.Resume();

        Assert.That(attempts, Is.EqualTo((TeeReturnCode[])[TeeReturnCode.StorageNotAvailable]));
        Assert.That(Kept(vm, session), Is.EqualTo((0u, 7UL)));
    }

    // The VM goes on where it was: an application of the vain attempt would take the storage away from it.
    [Test]
    public async Task RestoreAsync_FailsOrIsNotResumed_FreedApplicationsDoNotTakeTheStorage([Values] bool fails)
    {
        using StorageFolder storage = new();
        ConcurrentQueue<TeeReturnCode> attempts = new();
        await using MovingVm vm = new(() => storage.CreateTee(_ => { }));
        uint session = vm.Open(KeepingApplication.Manifest);
        uint other = vm.Open(CountingApplication.PerSession);
        Assert.That(Keep(vm, session, 7), Is.Zero);
        byte[] state = await vm.SaveAsync();
        SoftwareTeeBackend target = storage.CreateTee(attempts.Enqueue, refusesState: fails);

        try
        {
            OpTeeGuest restored =
                await OpTeeGuest.RestoreAsync(vm.Memory, target, vm.Options, state, new OpTeeStateOptions());
            await restored.DisposeAsync();
            Assert.That(fails, Is.False, "it is restored");
        }
        catch (OpTeeStateException)
        {
            Assert.That(fails, "it is not restored");
        }

        vm.Guest.Resume();
        Assert.That(attempts, Is.EqualTo((TeeReturnCode[])[TeeReturnCode.StorageNotAvailable]));
        Assert.That(Keep(vm, session, 8), Is.Zero);
        Assert.That(Kept(vm, session), Is.EqualTo((0u, 8UL)));
        Assert.That(vm.Add(other, 1), Is.EqualTo((1UL, 1UL)));
    }

    private static uint Keep(MovingVm vm, uint session, ulong value) =>
        vm.Driver.Invoke(session, KeepingApplication.Keep, GuestParameter.ValueIn(value, 0)).ReturnCode;

    private static (uint Code, ulong Value) Kept(MovingVm vm, uint session)
    {
        GuestMessage answer = vm.Driver.Invoke(session, KeepingApplication.Tell, GuestParameter.ValueOut());
        return (answer.ReturnCode, answer.Parameters[0].A);
    }

    /// <summary>A database in a folder of its own; each TEE has a connection of its own, as another process
    /// has.</summary>
    private sealed class StorageFolder : IDisposable
    {
        private readonly string _folder = Directory.CreateTempSubdirectory("abandoned-").FullName;

        public StorageFolder() => TeeKeyFile.Create(InFolder("key"));

        public SoftwareTeeBackend CreateTee(Action<TeeReturnCode> onDispose, bool refusesState = false) =>
            new(new SoftwareTeeOptions
            {
                KeySource = new TeeKeyFile(InFolder("key")),
                Storage = new TrustedStorageOptions(new SqliteTeeStore(InFolder("database"))),
            }
                .Add(KeepingApplication.Manifest, () => new KeepingApplication { OnDispose = onDispose })
                .Add(
                    CountingApplication.PerSession,
                    () => new CountingApplication { RefusesState = refusesState }));

        public void Dispose() => Directory.Delete(_folder, recursive: true);

        private string InFolder(string name) => Path.Combine(_folder, name);
    }
}
