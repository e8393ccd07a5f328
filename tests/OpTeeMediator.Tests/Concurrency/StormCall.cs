using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Concurrency;

/// <summary>A call of the guest: its message, when it began, and what has become of it.</summary>
internal sealed class StormCall(ulong page, GuestMessage message, ulong ticket, int life, uint conduit)
{
    private int _answered;

    public ulong Page => page;

    public GuestMessage Message => message;

    /// <summary>A number of its own, by which the backend and the guest know it.</summary>
    public ulong Ticket => ticket;

    /// <summary>The guest's life when it began.</summary>
    public int Life => life;

    public uint Conduit => conduit;

    /// <summary>Where its RPC messages lie, if it has supplied room for them.</summary>
    public ulong RpcPlace => page + (ulong)OpTeeMessage.Size(message.Parameters.Length);

    /// <summary>Notes that it was answered.</summary>
    /// <returns><see langword="false"/> if it has been before.</returns>
    public bool TryMarkAnswered() => Interlocked.Exchange(ref _answered, 1) == 0;
}
