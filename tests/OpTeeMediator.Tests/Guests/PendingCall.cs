using OpTeeMediator.Smccc;

namespace OpTeeMediator.Tests.Guests;

/// <summary>A call that the guest has made: its message's page, the registers of its last return, how many
/// parameters it has.</summary>
internal sealed record PendingCall(ulong Page, SmcRegisters Registers, int Parameters);
