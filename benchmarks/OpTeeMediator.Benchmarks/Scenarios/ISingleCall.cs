using OpTeeMediator.Smccc;

namespace OpTeeMediator.Benchmarks.Scenarios;

/// <summary>A scenario whose operation is one SMC, always the same and answered at once.</summary>
public interface ISingleCall
{
    /// <summary>Who answers it.</summary>
    ISmcHandler Handler { get; }

    /// <summary>The registers with which it is made.</summary>
    SmcRegisters Registers { get; }
}
