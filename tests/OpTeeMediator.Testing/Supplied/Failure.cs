namespace OpTeeMediator.Testing.Supplied;

public enum Failure
{
    Throws,

    /// <summary>It returns a task that has failed, if it returns a task; otherwise it throws.</summary>
    ReturnsFailedTask,

    /// <summary>It returns a task that was cancelled, if it returns a task; otherwise it throws.</summary>
    ReturnsCanceledTask,
}
