using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.State;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.State;

/// <summary>States that were cut or changed are refused, and leave nothing behind.</summary>
internal sealed class BadStateTests
{
    private static readonly OpTeeStateOptions s_encrypted = new() { Key = new byte[OpTeeStateOptions.KeyLength] };

    [Test]
    public async Task RestoreAsync_Cut_IsRefused([Values] bool isEncrypted)
    {
        await using MovingVm vm = new();
        OpTeeStateOptions options = isEncrypted ? s_encrypted : new OpTeeStateOptions();
        byte[] state = await SaveRichAsync(vm, options);

        for (int length = 0; length < state.Length; length++)
        {
            Refuses(vm, state[..length], options, $"{length} bytes");
        }
    }

    [Test]
    public async Task RestoreAsync_BitFlipped_IsRefused([Values] bool isEncrypted)
    {
        await using MovingVm vm = new();
        OpTeeStateOptions options = isEncrypted ? s_encrypted : new OpTeeStateOptions();
        byte[] state = await SaveRichAsync(vm, options);

        for (int bit = 0; bit < state.Length * 8; bit++)
        {
            state[bit / 8] ^= (byte)(1 << (bit % 8));
            Refuses(vm, state, options, $"bit {bit}");
            state[bit / 8] ^= (byte)(1 << (bit % 8));
        }
    }

    /// <summary>What a holder of the key could write, or anybody without one.</summary>
    [Test]
    public async Task RestoreAsync_ContentChangedAndSealedAgain_IsRefusedOrRunsAndEnds([Values] bool isCut)
    {
        await using MovingVm vm = new();
        byte[] state = await SaveRichAsync(vm, new OpTeeStateOptions());
        byte[] content = SealedState.Unseal(state, MovingVm.Identity, default);
        int refused = 0;
        for (int position = 0; position < content.Length; position++)
        {
            foreach (byte mask in (byte[])[1, 0x80, 0xff])
            {
                byte[] changed = [.. content];
                changed[position] ^= mask;
                byte[] bad =
                    SealedState.Seal(isCut ? content.AsSpan(0, position) : changed, MovingVm.Identity, default);
                refused += await TryUseAsync(vm, bad) ? 0 : 1;
                if (isCut)
                {
                    break;
                }
            }
        }

        Assert.That(refused, isCut ? Is.EqualTo(content.Length) : Is.GreaterThan(content.Length / 4));
    }

    [Test]
    public async Task RestoreAsync_ApplicationIsMissingOrRefuses_IsRefusedAndNothingIsLeft([Values] bool isMissing)
    {
        await using MovingVm vm = new();
        _ = vm.Open();
        byte[] state = await vm.SaveAsync();
        SoftwareTeeOptions options = new();
        SoftwareTeeBackend tee = new(isMissing
            ? options
            : options.Add(CountingApplication.PerSession, () => new CountingApplication { RefusesState = true }));

        Assert.That(
            () => OpTeeGuest.RestoreAsync(vm.Memory, tee, vm.Options, state, new OpTeeStateOptions()),
            Throws.TypeOf<OpTeeStateException>().With.Message.Contains(
                CountingApplication.PerSession.Uuid.ToString()));
    }

    [Test]
    public async Task RestoreAsync_TeeRefusesMemory_IsRefusedAndNothingIsLeft()
    {
        List<ScriptedBackend> backends = [];
        await using MovingVm vm = new(() =>
        {
            int number = backends.Count;
            backends.Add(new ScriptedBackend { OnRegister = memory =>
                number > 0 && memory.Size == 4096 ? TeeReturnCode.OutOfMemory : TeeReturnCode.Success });
            return backends[^1];
        });
        _ = vm.Driver.Register(vm.Driver.AllocatePages(2, 2), 0, 8192, 1);
        _ = vm.Driver.Register(vm.Driver.AllocatePages(1, 1), 0, 4096, 2);
        byte[] state = await vm.SaveAsync();

        Assert.That(
            () => vm.RestoreAsync(state),
            Throws.TypeOf<OpTeeStateException>().With.Message.Contains(nameof(TeeReturnCode.OutOfMemory)));
        Assert.That(backends[1].Disposals, Is.EqualTo(1));
        Assert.That(backends[1].RegisteredBuffers, Is.Zero, "The TEE should only be asked for what it has.");
    }

    /// <summary>Whatever a state says, the TEE is told that a buffer ends once, and only of what it has.</summary>
    [Test]
    public async Task RestoreAsync_BuffersOfCallsCutOrChanged_TeeUnregistersEachOnceAndNoOther([Values] bool isCut)
    {
        RegistrationLog log = new();
        await using MovingVm vm = new(log.CreateTee);
        for (ulong cookie = 1; cookie <= 3; cookie++)
        {
            _ = vm.Driver.Register(vm.Driver.AllocatePages(1, 1), 0, 4096, cookie);
        }

        ulong[] pages = vm.Driver.AllocatePages(2, 2);
        ulong list = vm.Driver.WritePageList(pages);
        Assert.That(await vm.Guest.PauseAsync());
        _ = vm.Start(GuestBench.Unregistering(1));
        _ = vm.Start(GuestBench.Unregistering(2));
        _ = vm.Start(new GuestMessage(
            OpTeeMessage.CommandRegisterSharedMemory, GuestParameter.PageList(list, 8192, 4)));
        byte[] content =
            SealedState.Unseal(await vm.Guest.SaveAsync(new OpTeeStateOptions()), MovingVm.Identity, default);
        for (int position = 0; position < content.Length; position++)
        {
            // The last one makes of one call's cookie another's.
            foreach (byte mask in isCut ? (byte[])[0] : [1, 2, 3])
            {
                byte[] changed = [.. content];
                changed[position] ^= mask;
                byte[] bad =
                    SealedState.Seal(isCut ? content.AsSpan(0, position) : changed, MovingVm.Identity, default);
                _ = await TryUseAsync(vm, bad, log.CreateTee());
                Assert.That(log.Faults, Is.Empty, $"byte {position}, mask {mask}");
                Assert.That(log.Registered, Is.Empty, $"byte {position}, mask {mask}");
            }
        }
    }

    // Sessions of all kinds, memory, calls at all stages.
    private static async Task<byte[]> SaveRichAsync(MovingVm vm, OpTeeStateOptions options)
    {
        uint session = vm.Open();
        uint second = vm.Open(CountingApplication.Single);
        _ = vm.Driver.OpenSession(SoftwareTeeBackend.RandomNumberGeneratorUuid);
        _ = vm.Add(second, 3);
        _ = vm.Driver.Register(vm.Driver.AllocatePages(3, 2), 8, 9000, 5);
        ulong page = vm.Driver.AllocatePage();
        PendingCall asking = vm.UntilCommand(
            vm.Start(MovingVm.Adding(session, 3, CountingApplication.AddAfterAllocation)), OpTeeRpc.GetTime);
        Assert.That((uint)asking.Registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcCommand));
        Assert.That(await vm.Guest.PauseAsync());
        _ = vm.Start(GuestBench.Invocation(second, CountingApplication.Copy,
            GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInput, page, 1, 0),
            GuestParameter.RegisteredOut(0, 1, 5)));
        _ = vm.Start(GuestBench.Closing(second));
        return await vm.Guest.SaveAsync(options with { DropsWhatCannotMove = true });
    }

    private static void Refuses(MovingVm vm, byte[] state, OpTeeStateOptions options, string what) => Assert.That(
        () => OpTeeGuest.RestoreAsync(vm.Memory, vm.CreateTee(), vm.Options, state, options),
        Throws.TypeOf<OpTeeStateException>(), what);

    // A guest that was let in makes its calls, and ends; nothing throws, and nothing is left.
    private static async Task<bool> TryUseAsync(MovingVm vm, byte[] state, ITeeBackend? tee = null)
    {
        OpTeeGuest guest;
        try
        {
            guest = await OpTeeGuest.RestoreAsync(
                vm.Memory, tee ?? vm.CreateTee(), vm.Options, state, new OpTeeStateOptions());
        }
        catch (OpTeeStateException)
        {
            return false;
        }

        guest.Resume();
        FakeDriver driver = new(guest, vm.Memory, new GuestRange(GuestBench.FreePages, 1 << 20));
        for (uint slot = 1; slot <= vm.Options.Limits.Calls; slot++)
        {
            for (uint generation = 0; generation < 4; generation++)
            {
                _ = driver.Call(OpTeeSmc.ReturnFromRpc, 0, 0, (generation << 8) | slot);
            }
        }

        _ = driver.Call(OpTeeSmc.ExchangeCapabilities, 0);
        await guest.DisposeAsync();
        Assert.That(guest.Status, Is.EqualTo(GuestBench.Nothing));
        return true;
    }
}
