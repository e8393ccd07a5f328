using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Forwarding;

/// <param name="Header">cmd, func, session, cancel_id, pad, ret, ret_origin, num_params.</param>
internal sealed record RecordedMessage(uint[] Header)
{
    public List<GuestParameter> Parameters { get; } = [];

    public override string ToString() => $"{string.Join(' ', Header.Select(field => $"{field:x}"))}: {string.Join(' ', Parameters)}";
}
