namespace OpTeeMediator.Machines.Agents;

/// <summary>A machine, or something on it, did not do in time what it was asked for. The message has
/// the ends of the logs.</summary>
public sealed class MachineFailedException : Exception
{
    public MachineFailedException()
    {
    }

    public MachineFailedException(string message)
        : base(message)
    {
    }

    public MachineFailedException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
