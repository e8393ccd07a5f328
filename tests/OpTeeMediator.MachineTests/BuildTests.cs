using System.Diagnostics;
using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;

namespace OpTeeMediator.MachineTests;

/// <summary>The script that builds images of the machines, beside other builds and after one that was killed.</summary>
[TestFixture]
internal sealed class BuildTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("optee-").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task Build_WhileAnotherBuildRuns_FindsWhatIsThereWithoutWaiting()
    {
        string[] built = await Built("host", "firmware", "firmware-virtualized", "guest", "el2-stub");

        // What a build holds while it makes something.
        string path = Path.Combine(Path.GetDirectoryName(built[0])!, "lock");
        await using FileStream held = await LockAsync(path);

        Assert.That(await MachineScripts.RunAsync(Deadlines.Scale(Limit), "build", "host", "firmware",
            "firmware-virtualized", "guest", "el2-stub"), Is.EqualTo(built));
    }

    [Test]
    public async Task Build_AfterOneThatWasKilled_MakesAllOfIt()
    {
        _ = await Built("el2-stub");

        // A compiler that leaves half a file and does not come to its end.
        string compiler = Path.Combine(_folder, "aarch64-linux-gnu-gcc");
        string started = Path.Combine(_folder, "started");
        await File.WriteAllTextAsync(compiler, $"""
            #!/bin/sh
            while [ "$1" != -o ]; do shift; done
            echo half > "$2"
            echo > {started}
            exec sleep 1000
            """);
        await MachineScripts.RunAsync(Deadlines.Scale(Limit), "chmod", "755", compiler);
        await MachineScripts.RunAsync(Deadlines.Scale(Limit), "mkfifo", started);
        using Process killed = Start($"{_folder}:{Environment.GetEnvironmentVariable("PATH")}");
        _ = await File.ReadAllTextAsync(started).WaitAsync(Deadlines.Scale(Limit));
        killed.Kill(entireProcessTree: true);
        await killed.WaitForExitAsync();

        using Process next = Start(Environment.GetEnvironmentVariable("PATH")!);
        string output = await next.StandardOutput.ReadToEndAsync().WaitAsync(Deadlines.Scale(Limit));
        await next.WaitForExitAsync();

        Assert.That(next.ExitCode, Is.Zero);
        Assert.That(new FileInfo(Path.Combine(output.Trim(), "stub.bin")).Length, Is.GreaterThan(1000));
        Assert.That(Directory.GetDirectories(Path.Combine(_folder, "opteemediator"), "unfinished*"), Is.Empty);
    }

    /// <summary>Takes a lock, after its present holder has released it.</summary>
    private static async Task<FileStream> LockAsync(string path)
    {
        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            try
            {
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException) when (Stopwatch.GetElapsedTime(start) < Deadlines.Scale(Limit))
            {
                await Task.Delay(100);
            }
        }
    }

    /// <summary>A build of the smallest image, with an empty cache.</summary>
    private Process Start(string path)
    {
        ProcessStartInfo start =
            new(Path.Combine(MachineScripts.Folder, "build"), "el2-stub") { RedirectStandardOutput = true };
        start.Environment["PATH"] = path;
        start.Environment["XDG_CACHE_HOME"] = _folder;
        return Process.Start(start)!;
    }

    private static async Task<string[]> Built(params string[] artefacts)
    {
        try
        {
            return await MachineScripts.BuildAsync(artefacts);
        }
        catch (MachineFailedException exception) when (Environment.GetEnvironmentVariable("CI") != "true")
        {
            Assert.Inconclusive(exception.Message);
            throw;
        }
    }
}
