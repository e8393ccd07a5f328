namespace OpTeeMediator.Linux.Guests;

/// <summary>What one forwarded call has cost: on arm64 KVM each register access is a system call.</summary>
/// <param name="IsHandled">Whether the handler answered; otherwise the guest got NOT_SUPPORTED.</param>
/// <param name="RegisterReads">The number of registers read (KVM_GET_ONE_REG), 0–17; X0 comes with the exit.</param>
/// <param name="RegisterWrites">The number of registers written (KVM_SET_ONE_REG), 0–18.</param>
/// <remarks>Immutable, hence thread-safe.</remarks>
public readonly record struct SmcccCallReport(bool IsHandled, int RegisterReads, int RegisterWrites);
