using OpTeeMediator.Fuzzing.Engine;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.State;
using OpTeeMediator.Testing;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>The content of a saved OP-TEE, sealed again, as an owner of the key could write it.</summary>
/// <remarks>An input is the content. It is refused, or the VM runs with it and ends, and nothing is left.</remarks>
internal sealed class StateTarget : FuzzTarget
{
    private const int Calls = 3;

    private static readonly Guid Identity = new("6c1cf9a0-4a43-4a5e-9b8c-0f2e7f8a3d12");
    private static readonly OpTeeStateOptions StateOptions = new() { DropsWhatCannotMove = true };
    private static readonly OpTeeGuestOptions Options = new()
    {
        Identity = Identity,
        Limits = new() { Calls = Calls, Sessions = 4, Buffers = 6, Pages = 128, PagesPerBuffer = 128 },
    };

    private readonly FuzzMemory _memory = new();

    public override int MaximumLength => 2048;

    // Nothing; sessions and memory; calls that wait for the guest.
    public override IEnumerable<byte[]> Seeds => Enumerable.Range(0, 4).Select(Save);

    public override void Execute(ReadOnlySpan<byte> input)
    {
        byte[] state = SealedState.Seal(input, Identity, default);
        ScriptedBackend backend = CreateBackend();
        OpTeeGuest guest;
        try
        {
            guest = OpTeeGuest.RestoreAsync(_memory, backend, Options, state, StateOptions).GetAwaiter().GetResult();
        }
        catch (OpTeeStateException)
        {
            CheckNothing(backend);
            return;
        }

        Require(_memory.Pinned.Count == guest.Status.Buffers, "each buffer is pinned, and nothing else");
        guest.Resume();
        for (uint slot = 0; slot <= Calls; slot++)
        {
            for (uint generation = 0; generation < 4; generation++)
            {
                Call(guest, [OpTeeSmc.ReturnFromRpc, 0, 0, (generation << 8) | slot]);
            }
        }

        Call(guest, [OpTeeSmc.DisableShmCache]);
        Call(guest, [OpTeeSmc.ExchangeCapabilities, 0]);
        guest.DisposeAsync().AsTask().GetAwaiter().GetResult();
        Require(guest.Status == OpTeeGuestStatus.Nothing, "nothing is left of the VM");
        CheckNothing(backend);
    }

    private void CheckNothing(ScriptedBackend backend)
    {
        Require(_memory.Pinned.Count == 0, "nothing stays pinned");
        Require(backend is { OpenSessions: 0, RegisteredBuffers: 0 } && backend.Partitions == backend.Disposals,
            "nothing is left in the TEE");
    }

    private static ScriptedBackend CreateBackend() => new()
    {
        OnInvoke = async request =>
        {
            _ = await request.Guest!.AllocateAsync(Backends.GuestMemoryKind.Supplicant, 5000);
            return Backends.TeeResult.FromTee(await request.Guest.SuspendAsync(TimeSpan.Zero));
        },
    };

    private static void Call(OpTeeGuest guest, ReadOnlySpan<ulong> arguments)
    {
        SmcRegisters registers = default;
        arguments.CopyTo(registers[..arguments.Length]);
        _ = guest.Handle(ref registers, SmcRegisterSet.All);
    }

    private byte[] Save(int rounds)
    {
        OpTeeGuest guest = new(_memory, CreateBackend(), Options);
        FakeDriver driver =
            new(guest, _memory, new GuestRange(FuzzMemory.Start, FuzzMemory.Pages * GuestPages.PageSize));
        _ = driver.Call(OpTeeSmc.ExchangeCapabilities);
        for (int round = 0; round < rounds; round++)
        {
            uint session = driver.OpenSession(FuzzVm.Application).Session;
            _ = driver.Register(driver.AllocatePages(round + 1, 2), 8, (ulong)(4000 * (round + 1)), (ulong)round + 5);

            // A call with a page of its own, which stays where it asks for memory.
            ulong page = driver.AllocatePage();
            driver.WriteMessage(page, new GuestMessage(OpTeeMessage.CommandInvoke) { Session = session });
            _ = driver.Call(round == 1 ? OpTeeSmc.CallWithArgument : OpTeeSmc.CallWithRpcArgument, page >> 32, page);
        }

        Require(guest.PauseAsync().GetAwaiter().GetResult(), "a VM that waits can be paused");
        byte[] state = guest.SaveAsync(StateOptions).GetAwaiter().GetResult();
        guest.Resume();
        guest.DisposeAsync().AsTask().GetAwaiter().GetResult();
        return SealedState.Unseal(state, Identity, default);
    }
}
