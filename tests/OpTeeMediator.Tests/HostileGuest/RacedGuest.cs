using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;

namespace OpTeeMediator.Tests.HostileGuest;

/// <summary><see cref="OpTeeGuest"/> over memory that races, and a backend that writes down its operations.</summary>
internal sealed class RacedGuest : RacedVm
{
    private const int BlockSize = 1 << 20;

    private static readonly GuestRange Range = new(0x4000_0000, 8 * BlockSize);

    // One for each thread, because fresh memory costs more than all that is done with it.
    [ThreadStatic]
    private static ArrayRam? s_ram;

    private readonly ScriptedBackend _backend = new();
    private readonly OpTeeGuest _guest;

    public RacedGuest()
    {
        s_ram ??= new ArrayRam(Range.Start.Value, (int)Range.Length);
        ulong[] blocks = [.. Enumerable.Range(0, 8).Select(block => Range.Start.Value + ((ulong)block * BlockSize))];
        Memory = new RacingGuestMemory(new PartitionedMemory(s_ram, Range.Start, BlockSize, blocks, 0, 0));

        // Each page begins with its own address: what earlier VMs have left there is not seen.
        for (ulong page = Range.Start.Value; page < Range.End.Value; page += GuestPages.PageSize)
        {
            _ = Memory.TryWrite(page, BitConverter.GetBytes(page));
        }

        _guest = new OpTeeGuest(Memory, _backend);
        Driver = new FakeDriver(_guest, Memory.ForDriver, Range);
        _backend.OnOpen = request =>
        {
            See($"open {request.Application} by {request.Client} with {Describe(request)}");
            return new(TeeResult.Success);
        };
        _backend.OnInvoke = request =>
        {
            See($"invoke {request.CommandId:x} with {Describe(request)}");
            Answer(request);
            return new(TeeResult.Success);
        };
        _backend.OnCancel = request => See($"cancel {request.CommandId:x}");
        _backend.OnRegister = memory =>
        {
            See($"register {DescribePages(memory)}");
            return TeeReturnCode.Success;
        };
    }

    public override RacingGuestMemory Memory { get; }

    public override FakeDriver Driver { get; }

    public override string Status =>
        $"{_guest.Status}, {_backend.OpenSessions} sessions and {_backend.RegisteredBuffers} buffers in the TEE";

    public override void AskTheGuest() => _backend.OnInvoke = async request =>
    {
        See($"invoke {request.CommandId:x} with {Describe(request)}");
        GuestServices guest = request.Guest!;
        TeeSharedMemory? memory = await guest.AllocateAsync(GuestMemoryKind.Supplicant, AllocatedSize);
        See(memory is null ? "nothing allocated" : $"allocated {DescribePages(memory)}");
        TeeReturnCode code = await guest.CallAsync(OpTeeRpc.FileSystem,
            TeeParameter.Value(TeeParameterKind.ValueInOut, 3, 4, 5),
            TeeParameter.Reference(TeeParameterKind.MemoryOutput, memory, 0, memory is null ? 0u : 100u));
        See($"answered {code} {guest.Parameters[0].A:x} {guest.Parameters[0].B:x} {guest.Parameters[1].Size:x}");
        return TeeResult.Success;
    };

    public override ValueTask DisposeAsync() => _guest.DisposeAsync();

    private static void Answer(TeeRequest request)
    {
        for (int index = 0; index < TeeRequest.ParameterCount; index++)
        {
            request.SetValue(index, 0x1111, 0x2222);
            request.SetSize(index, 5);
        }
    }

    private static string Describe(TeeRequest request)
    {
        List<string> parameters = [];
        foreach (TeeParameter parameter in request.Parameters)
        {
            if (parameter.Memory is { } memory
                && (parameter.Offset > memory.Size || parameter.Size > memory.Size - parameter.Offset))
            {
                parameters.Add(Unreadable);
            }

            parameters.Add(parameter.IsMemory
                ? $"{parameter.Kind} {parameter.Offset:x} {parameter.Size:x} {DescribePages(parameter.Memory)}"
                : $"{parameter.Kind} {parameter.A:x} {parameter.B:x}");
        }

        return string.Join(", ", parameters);
    }

    // By the addresses with which the pages begin.
    private static string DescribePages(TeeSharedMemory? memory)
    {
        List<string> pages = [];
        byte[] first = new byte[sizeof(ulong)];
        for (ulong offset = 0; memory is not null && offset < memory.Size; offset += OpTeeMessage.PageSize)
        {
            Array.Clear(first);
            pages.Add(memory.TryRead(offset, first.AsSpan(0, (int)Math.Min(sizeof(ulong), memory.Size - offset)))
                ? Hex([BitConverter.ToUInt64(first)]) : Unreadable);
        }

        return $"({memory?.Size:x}: {string.Join(' ', pages)})";
    }
}
