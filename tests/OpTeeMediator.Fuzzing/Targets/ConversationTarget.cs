using OpTeeMediator.Backends;
using OpTeeMediator.Fuzzing.Engine;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>Whole conversations of a guest with its OP-TEE, whose applications call the guest.</summary>
/// <remarks>An input is what <see cref="HostileDriver"/> does. At its end, and after the driver has started again,
/// nothing is left: calls, sessions, buffers, pins.</remarks>
internal sealed class ConversationTarget : FuzzTarget
{
    private readonly FuzzMemory _memory = new();
    private readonly ScriptedBackend _backend;
    private readonly OpTeeGuest _guest;
    private readonly HostileDriver _driver;

    // Of the application: the mediator catches what a backend throws.
    private PropertyException? _failure;

    public ConversationTarget()
    {
        _backend = new ScriptedBackend
        {
            OnOpen = request => ServeAsync(request, 0),
            OnInvoke = request => ServeAsync(request, request.CommandId),
        };
        _guest = new OpTeeGuest(_memory, _backend, new OpTeeGuestOptions
        {
            Limits = GuestScript.Limits,
        });
        _driver = new HostileDriver(_guest, _memory, FuzzMemory.Start);
    }

    public override IEnumerable<byte[]> Seeds => GuestScript.Seeds;

    public override void Execute(ReadOnlySpan<byte> input)
    {
        _driver.Play(input);

        if (_failure is not null)
        {
            throw _failure;
        }

        // Calls of an earlier driver end on threads of the process.
        Wait(() => _guest.Status.CallsInFlight == 0, "no call is left");
        Wait(IsConsistent, "guest, TEE and memory agree on sessions, buffers and pins");
        _driver.CleanUp();
        if (!IsEmpty())
        {
            Require(_driver.Exchange() == OpTeeSmc.ReturnOk, "a driver can start again");
            Wait(IsEmpty, "nothing is left of a driver");
        }
    }

    // What an earlier driver has left is freed by a thread.
    private bool IsConsistent() => _guest.Status is var status && _memory.Pinned.Count == status.Buffers
        && _backend.OpenSessions == status.Sessions;

    private bool IsEmpty() => _guest.Status == OpTeeGuestStatus.Nothing && _memory.Pinned.Count == 0
        && _backend is { OpenSessions: 0, RegisteredBuffers: 0 };

    private async ValueTask<TeeResult> ServeAsync(TeeRequest request, uint script)
    {
        try
        {
            return await PerformAsync(request, script);
        }
        catch (PropertyException exception)
        {
            _failure ??= exception;
            throw;
        }
    }

    // What a command asks of its guest.
    public static async ValueTask<TeeResult> PerformAsync(TeeRequest request, uint script)
    {
        GuestServices guest = request.Guest!;
        TeeSharedMemory? memory = null;
        TeeReturnCode code = TeeReturnCode.Success;
        for (int step = 0; step < GuestScript.Steps; step++)
        {
            switch (GuestScript.Step(script, step))
            {
                case 1:
                    GuestAnswer<TimeSpan> time = await guest.GetTimeAsync();
                    Require(time.Value >= TimeSpan.Zero, "a time is after 1970");
                    break;
                case 2 when memory is null:
                    memory = await guest.AllocateAsync(GuestMemoryKind.Supplicant, 5000);
                    Require(memory is null || Uses(memory, 5000), "memory is as large as asked for, and there");
                    break;
                case 3 when memory is not null:
                    code = await guest.FreeAsync(memory);
                    memory = null;
                    break;
                case 4:
                    code = await guest.CallAsync(OpTeeRpc.FileSystem,
                        TeeParameter.Value(TeeParameterKind.ValueInOut, 3, 4, 5),
                        TeeParameter.Reference(TeeParameterKind.MemoryInOut, memory, 0, memory is null ? 0 : 16ul),
                        TeeParameter.Value(TeeParameterKind.ValueOutput, 0, 0));
                    Require(guest.Parameters[0].Kind == TeeParameterKind.ValueInOut
                        && guest.Parameters[1].Memory == memory && guest.Parameters[1].Capacity <= 16
                        && guest.Parameters[2].Kind == TeeParameterKind.ValueOutput, "a guest changes outputs only");
                    break;
                case 5:
                    code = await guest.SuspendAsync(TimeSpan.FromMilliseconds(1));
                    break;
                case 6:
                    code = await guest.WaitForNotificationAsync(GuestServices.FirstNotification);
                    break;
                case GuestScript.End:
                    return new TeeResult(code, TeeOrigin.TrustedApplication);
                default:
                    break;
            }
        }

        return TeeResult.Success;
    }

    private static bool Uses(TeeSharedMemory memory, ulong size)
    {
        Span<byte> bytes = stackalloc byte[2];
        return memory.Size == size && memory.TryRead(size - 2, bytes) && memory.TryWrite(size - 2, bytes)
            && !memory.TryRead(size - 1, bytes);
    }
}
