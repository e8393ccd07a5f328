namespace OpTeeMediator.Remote.Workers;

/// <summary>How a worker process is started.</summary>
/// <param name="FileName">The program.</param>
/// <param name="Arguments">Its arguments before those that the server adds.</param>
/// <param name="HeapLimit">The limit of its managed heap, in bytes.</param>
/// <param name="UserName">As whom it runs if the server runs as root.</param>
internal sealed record WorkerCommand(
    string FileName, IReadOnlyList<string> Arguments, long HeapLimit, string? UserName);
