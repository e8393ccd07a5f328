using OpTeeMediator.Smccc;

namespace OpTeeMediator.Machines.Partitioned;

/// <param name="Made">X0–X7 at the call.</param>
/// <param name="Answer">X0–X7 after it.</param>
public readonly record struct RecordedCall(SmcRegisters Made, SmcRegisters Answer);
