namespace OpTeeMediator.Testing.Traces;

/// <summary>What OP-TEE requested of the guest when it suspended a call.</summary>
/// <param name="Registers">X0 to X2.</param>
/// <param name="Thread">X3, by which the guest resumes the call.</param>
/// <param name="Message">The RPC message; <see langword="null"/> if memory for it is requested.</param>
public sealed record TraceRequest(ulong[] Registers, ulong Thread, TraceMessage? Message);
