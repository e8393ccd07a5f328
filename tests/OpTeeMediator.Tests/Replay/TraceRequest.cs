namespace OpTeeMediator.Tests.Replay;

/// <summary>What the recorded TEE returned with instead of an end: what it asked of the guest.</summary>
/// <param name="Registers">X0 to X2.</param>
/// <param name="Thread">X3, by which the guest resumed the call.</param>
/// <param name="Message">The RPC message; <see langword="null"/> if memory for it is asked for.</param>
internal sealed record TraceRequest(ulong[] Registers, ulong Thread, TraceMessage? Message);
