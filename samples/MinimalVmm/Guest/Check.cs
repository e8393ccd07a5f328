namespace MinimalVmm.Guest;

/// <summary>Something that the guest compares by itself; the VMM only knows its name.</summary>
/// <param name="Step">The number of the step it belongs to, from 1 on.</param>
/// <param name="StepName">What the step is about.</param>
/// <param name="Subject">What is compared.</param>
/// <param name="IsMemory">Whether it is a range of bytes, so that an address belongs to a failure.</param>
internal sealed record Check(int Step, string StepName, string Subject, bool IsMemory);
