namespace OpTeeMediator.Tests.Vmm;

/// <summary>The implementations of <see cref="OpTeeMediator.Vmm.IGuestOpTee"/>.</summary>
internal enum HandlerKind
{
    Guest,
    Forwarder,
    Companion,
}
