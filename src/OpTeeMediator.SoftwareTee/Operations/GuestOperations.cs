using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Operations;

/// <summary>What operations do with their guest.</summary>
internal static class GuestOperations
{
    /// <summary>Makes a call to the guest with parameters that receive its outputs, and checks their sizes.</summary>
    /// <returns>The guest's answer; TEE_ERROR_SECURITY if it claims success and more output than fits.</returns>
    public static TeeReturnCode Call(this IGuestOperation operation, uint command, Span<TeeParameter> parameters)
    {
        GuestServices guest = operation.Guest;
        TeeReturnCode code = guest.Call(command, parameters);
        guest.Parameters[..parameters.Length].CopyTo(parameters);
        return code == TeeReturnCode.Success && ClaimsTooMuch(parameters) ? TeeReturnCode.Security : code;
    }

    /// <summary>Disposes of something that calls the guest then.</summary>
    public static async ValueTask DisposeAsync(this IGuestOperation operation, IDisposable held) =>
        _ = await operation.RunAsync(held, static held =>
        {
            held.Dispose();
            return true;
        });

    // A NULL reference has room for nothing, and its size is the size that is needed: a success, too.
    private static bool ClaimsTooMuch(ReadOnlySpan<TeeParameter> parameters)
    {
        foreach (ref readonly TeeParameter parameter in parameters)
        {
            if (parameter is { IsMemory: true, Memory: not null } && parameter.Size > parameter.Capacity)
            {
                return true;
            }
        }

        return false;
    }
}
