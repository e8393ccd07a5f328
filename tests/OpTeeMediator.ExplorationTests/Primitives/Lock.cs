namespace OpTeeMediator;

/// <summary>Entered by <see cref="ControlledLock"/>.</summary>
internal sealed class Lock;
