using OpTeeMediator.Backends;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Replay;

/// <summary>The TEE of the recording: an echo application and a random number generator, which both treat their parameters the same way.</summary>
/// <remarks>Memory gets an X as its first byte and a Y as its last; numbers grow by one.</remarks>
internal sealed class ModelTee
{
    private static readonly Guid Echo = new("ec0ec0ec-0001-0002-0102-030405060708");
    private static readonly Guid Rng = new("ab7a617c-b8e7-4d8f-8301-d09b61036b64");

    public ModelTee(bool enumerates) => Backend = new ScriptedBackend { Devices = enumerates ? [new TeeDevice(Rng)] : null, OnOpen = Open, OnInvoke = Invoke };

    public ScriptedBackend Backend { get; }

    /// <summary>The first byte of each memory reference of the last command, by parameter.</summary>
    public Dictionary<int, byte> FirstBytes { get; } = [];

    private static ValueTask<TeeResult> Open(TeeRequest request) =>
        new(request.Application == Echo || request.Application == Rng ? TeeResult.Success : TeeResult.FromTee(TeeReturnCode.ItemNotFound));

    private ValueTask<TeeResult> Invoke(TeeRequest request)
    {
        FirstBytes.Clear();
        Span<TeeParameter> parameters = request.Parameters;
        for (int index = 0; index < parameters.Length; index++)
        {
            ref TeeParameter parameter = ref parameters[index];
            if (parameter.IsMemory)
            {
                Touch(ref parameter, index);
            }
            else if (parameter.IsOutput)
            {
                parameter.A++;
                parameter.B++;
            }
        }

        return new(TeeResult.Success);
    }

    private void Touch(ref TeeParameter parameter, int index)
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
