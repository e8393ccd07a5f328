using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;
using Generator = System.Security.Cryptography.RandomNumberGenerator;

namespace OpTeeMediator.SoftwareTee.Hosting;

/// <summary>OP-TEE's random number generator, for which Linux, U-Boot and EDK II have drivers.</summary>
/// <remarks>
/// It keeps nothing, so one object is all sessions of all VMs, and no operation waits for another. Source: OP-TEE's
/// <c>pta_rng.h</c>. Thread-safe.
/// </remarks>
internal sealed class RandomNumberGenerator : ITeeSession
{
    /// <summary>PTA_CMD_GET_ENTROPY: parameter 0 is an in/out memory reference to fill.</summary>
    internal const uint GetEntropy = 0;

    /// <summary>PTA_CMD_GET_RNG_INFO: parameter 0 returns bytes per second, and entropy per 1024 bits.</summary>
    internal const uint GetInformation = 1;

    /// <summary>
    /// 16 MiB/s: so fast that a driver does not sleep between requests. 0 would say "not limited", but older Linux
    /// drivers divide by it.
    /// </summary>
    internal const uint DataRate = 16 << 20;

    /// <summary>Full entropy.</summary>
    internal const uint Quality = 1024;

    // What goes through private memory at once.
    private const int PieceSize = 4096;

    // What is made without a pause, on the vCPU's thread or on one of the pool: some ten microseconds. Drivers ask for
    // 4096 bytes at most.
    private const ulong TurnSize = 16 * PieceSize;

    private RandomNumberGenerator()
    {
        // The first use loads the host's cryptographic library: here, not on a vCPU's thread.
        Generator.Fill(stackalloc byte[1]);
    }

    /// <summary>PTA_RNG_UUID.</summary>
    internal static Guid Uuid { get; } = new("ab7a617c-b8e7-4d8f-8301-d09b61036b64");

    /// <summary>The session of everyone.</summary>
    internal static RandomNumberGenerator Session { get; } = new();

    public ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request)
    {
        switch (request.CommandId)
        {
            case GetEntropy when !HasParameter(request, TeeParameterKind.MemoryInOut)
                || request.Parameters[0].Memory is null:
            case GetInformation when !HasParameter(request, TeeParameterKind.ValueOutput):
                return new(Result(TeeReturnCode.BadParameters));

            case GetEntropy when request.Parameters[0].Capacity > TurnSize:
                return FillInTurnsAsync(request);

            case GetEntropy:
                return new(Result(Fill(request, 0, request.Parameters[0].Capacity)));

            case GetInformation:
                request.SetValue(0, DataRate, Quality);
                return new(Result(TeeReturnCode.Success));

            default:
                return new(Result(TeeReturnCode.NotImplemented));
        }
    }

    // A large request holds neither its vCPU nor a thread of the pool for longer than one turn.
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private static async ValueTask<TeeResult> FillInTurnsAsync(TeeRequest request)
    {
        ulong size = request.Parameters[0].Capacity;
        TeeReturnCode code = TeeReturnCode.Success;
        for (ulong offset = 0; offset < size && code == TeeReturnCode.Success; offset += TurnSize)
        {
            await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
            code = Fill(request, offset, Math.Min(TurnSize, size - offset));
        }

        return Result(code);
    }

    private static TeeReturnCode Fill(TeeRequest request, ulong offset, ulong length)
    {
        Span<byte> piece = stackalloc byte[PieceSize];
        ref readonly TeeParameter output = ref request.Parameters[0];
        for (ulong end = offset + length; offset < end; offset += PieceSize)
        {
            Span<byte> entropy = piece[..(int)Math.Min(PieceSize, end - offset)];
            Generator.Fill(entropy);
            if (!output.TryWrite(offset, entropy))
            {
                return TeeReturnCode.BadParameters;
            }
        }

        return TeeReturnCode.Success;
    }

    private static bool HasParameter(TeeRequest request, TeeParameterKind kind)
    {
        ReadOnlySpan<TeeParameter> parameters = request.Parameters;
        return parameters[0].Kind == kind
            && parameters[1].Kind == TeeParameterKind.None
            && parameters[2].Kind == TeeParameterKind.None
            && parameters[3].Kind == TeeParameterKind.None;
    }

    private static TeeResult Result(TeeReturnCode code) => new(code, TeeOrigin.TrustedApplication);
}
