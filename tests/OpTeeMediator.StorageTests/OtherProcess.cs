using System.Diagnostics;

namespace OpTeeMediator.StorageTests;

/// <summary>A process that runs <see cref="Program"/>.</summary>
internal sealed class OtherProcess : IDisposable
{
    private readonly Process _process;
    private readonly List<string> _lines = [];
    private readonly Lock _lock = new();

    public OtherProcess(params string[] arguments)
    {
        string host = Environment.ProcessPath!;
        ProcessStartInfo start = new(host.EndsWith("dotnet", StringComparison.Ordinal) ? host : "dotnet")
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        foreach (string argument in (string[])["exec", typeof(Program).Assembly.Location, .. arguments])
        {
            start.ArgumentList.Add(argument);
        }

        _process = Process.Start(start)!;
        _process.OutputDataReceived += (_, line) =>
        {
            lock (_lock)
            {
                if (line.Data is not null)
                {
                    _lines.Add(line.Data);
                }
            }
        };
        _process.BeginOutputReadLine();
    }

    /// <summary>What it has said so far.</summary>
    public IReadOnlyList<string> Lines
    {
        get
        {
            lock (_lock)
            {
                return [.. _lines];
            }
        }
    }

    /// <summary>Waits until it has said a number of lines.</summary>
    public void WaitForLines(int count)
    {
        bool arrived = SpinWait.SpinUntil(() => Lines.Count >= count || _process.HasExited, TimeSpan.FromMinutes(2));
        Assert.That(arrived && Lines.Count >= count, Is.True, string.Join('\n', Lines));
    }

    /// <summary>Ends it with kill -9, and waits until all that it has said is there.</summary>
    public void Kill()
    {
        Assert.That(_process.HasExited, Is.False, string.Join('\n', Lines));
        _process.Kill();
        _process.WaitForExit();
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            _process.WaitForExit();
        }

        _process.Dispose();
    }
}
