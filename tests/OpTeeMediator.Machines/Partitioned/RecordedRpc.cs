using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Machines.Partitioned;

/// <summary>An RPC command that a guest was sent.</summary>
/// <param name="Command">See <see cref="OpTeeRpc"/>.</param>
/// <param name="Answer">The guest's return code.</param>
public readonly record struct RecordedRpc(uint Command, TeeReturnCode Answer);
