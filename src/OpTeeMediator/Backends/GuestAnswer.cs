namespace OpTeeMediator.Backends;

/// <summary>The guest's answer to a call that returns something besides a code.</summary>
/// <param name="Code">The return code.</param>
/// <param name="Value">The returned value; its default where nothing came with the code.</param>
/// <typeparam name="T">The type of the value.</typeparam>
/// <remarks>Immutable, hence thread-safe.</remarks>
public readonly record struct GuestAnswer<T>(TeeReturnCode Code, T? Value)
{
    /// <summary>Whether the code is <see cref="TeeReturnCode.Success"/>.</summary>
    public bool IsSuccess => Code == TeeReturnCode.Success;
}
