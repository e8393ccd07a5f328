namespace OpTeeMediator.Tests.Diagnostics;

/// <summary>One measurement of a VM: the tags except the VM's name, joined.</summary>
internal sealed record Measured(string Instrument, double Value, string Tags);
