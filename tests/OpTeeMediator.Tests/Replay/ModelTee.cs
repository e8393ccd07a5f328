using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Traces;

namespace OpTeeMediator.Tests.Replay;

/// <summary>The TEE of the recording: an echo application and a random number generator, which both treat their
/// parameters the same way.</summary>
/// <remarks>Memory gets an X as its first byte and a Y as its last; numbers grow by one. Any other application it looks
/// for in the guest, as it did then.</remarks>
internal sealed class ModelTee
{
    private static readonly Guid Echo = new("ec0ec0ec-0001-0002-0102-030405060708");
    private static readonly Guid Rng = new("ab7a617c-b8e7-4d8f-8301-d09b61036b64");

    public ModelTee(bool enumerates, TeeExecution execution) => Backend = new ScriptedBackend
    {
        Execution = execution,
        MemoryExecution = execution,
        Devices = enumerates ? [new TeeDevice(Rng)] : null,
        OnOpen = OpenAsync,
        OnInvoke = Invoke,
    };

    public ScriptedBackend Backend { get; }

    /// <summary>What the next operation asks of the guest, in this order.</summary>
    public IReadOnlyList<TraceMessage> Requests { get; set; } = [];

    /// <summary>The first byte of each memory reference of the last command, by parameter.</summary>
    public Dictionary<int, byte> FirstBytes { get; } = [];

    private async ValueTask<TeeResult> OpenAsync(TeeRequest request) =>
        request.Application == Echo || request.Application == Rng ? TeeResult.Success
            : TeeResult.FromTee(await AskAsync(request.Guest!, Requests));

    /// <summary>Makes the recorded requests, in the memory that the guest gives.</summary>
    private static async ValueTask<TeeReturnCode> AskAsync(GuestServices guest, IReadOnlyList<TraceMessage> requests)
    {
        TeeReturnCode answer = TeeReturnCode.ItemNotFound;
        TeeSharedMemory? memory = null;
        foreach (TraceMessage request in requests)
        {
            switch (request.Command)
            {
                case OpTeeRpc.AllocateSharedMemory:
                    memory = await guest.AllocateAsync((GuestMemoryKind)request.Parameters[0].A,
                        (int)request.Parameters[0].B);
                    break;

                case OpTeeRpc.FreeSharedMemory:
                    _ = await guest.FreeAsync(memory!);
                    break;

                default:
                    answer = await guest.CallAsync(
                        request.Command, [.. request.Parameters.Select(parameter => Parameter(parameter, memory))]);
                    break;
            }
        }

        return answer;
    }

    private static TeeParameter Parameter(GuestParameter parameter, TeeSharedMemory? memory)
    {
        TeeParameterKind kind = (TeeParameterKind)parameter.Attributes;
        return parameter.Attributes < OpTeeMessage.TypeRegisteredInput
            ? TeeParameter.Value(kind, parameter.A, parameter.B)
            : TeeParameter.Reference(kind, memory, parameter.A, parameter.B);
    }

    private ValueTask<TeeResult> Invoke(TeeRequest request)
    {
        FirstBytes.Clear();
        ReadOnlySpan<TeeParameter> parameters = request.Parameters;
        for (int index = 0; index < parameters.Length; index++)
        {
            ref readonly TeeParameter parameter = ref parameters[index];
            if (parameter.IsMemory)
            {
                Touch(in parameter, index);
            }
            else if (parameter.IsOutput)
            {
                request.SetValue(index, parameter.A + 1, parameter.B + 1);
            }
        }

        return new(TeeResult.Success);
    }

    private void Touch(in TeeParameter parameter, int index)
    {
        Span<byte> first = stackalloc byte[1];
        if (parameter.TryRead(0, first))
        {
            FirstBytes[index] = first[0];
            _ = parameter.TryWrite(parameter.Capacity - 1, "Y"u8);
            _ = parameter.TryWrite(0, "X"u8);
        }
    }
}
