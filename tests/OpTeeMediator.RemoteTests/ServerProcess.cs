using System.Diagnostics;

namespace OpTeeMediator.RemoteTests;

/// <summary>A server in a process of its own, to be killed.</summary>
internal sealed class ServerProcess : IDisposable
{
    private readonly Process _process;

    public ServerProcess(params string[] arguments)
    {
        ProcessStartInfo start = new(ProgramPath, arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        _process = Process.Start(start)!;
        _process.ErrorDataReceived += (_, line) => Errors.Enqueue(line.Data ?? "");
        _process.BeginErrorReadLine();
        string? first = _process.StandardOutput.ReadLine();
        Assert.That(first, Is.EqualTo("ready"), () => string.Join('\n', Errors));
    }

    /// <summary>Kills it, and not the processes that it has started.</summary>
    public void KillAlone()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    /// <summary>This program, as a process of its own.</summary>
    public static string ProgramPath => Path.Combine(AppContext.BaseDirectory, "OpTeeMediator.RemoteTests");

    public System.Collections.Concurrent.ConcurrentQueue<string> Errors { get; } = [];

    public int Id => _process.Id;

    /// <summary>Kills it as kill -9 does.</summary>
    public void Kill()
    {
        _process.Kill(entireProcessTree: true);
        _process.WaitForExit();
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            Kill();
        }

        _process.Dispose();
    }
}
