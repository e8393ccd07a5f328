using System.Diagnostics;
using OpTeeMediator.Machines.Agents;

namespace OpTeeMediator.Machines;

/// <summary>The scripts in tests/machines, which build and boot the machine.</summary>
public static class MachineScripts
{
    // The first time everything is downloaded.
    private static readonly TimeSpan Builds = TimeSpan.FromMinutes(5);

    /// <summary>Where they are.</summary>
    public static string Folder { get; } = Path.Combine(FindRepository(), "tests", "machines");

    /// <summary>The repository's folder.</summary>
    public static string Repository => Path.GetFullPath(Path.Combine(Folder, "..", ".."));

    /// <summary>The Debian suite that Linux, OP-TEE and what belongs to it come from: OPTEE_MEDIATOR_SUITE.</summary>
    public static string Suite { get; } =
        Environment.GetEnvironmentVariable("OPTEE_MEDIATOR_SUITE") is { Length: > 0 } suite ? suite : "trixie";

    /// <summary>Builds images of the machines, or finds them in the cache.</summary>
    /// <param name="artefacts">What <c>build</c> calls them; all if none.</param>
    /// <returns>Their folders, in the same order.</returns>
    public static async Task<string[]> BuildAsync(params string[] artefacts)
    {
        if (Environment.GetEnvironmentVariable("OPTEE_MEDIATOR_UNPREPARED") is { Length: > 0 } reason)
        {
            throw new MachineFailedException(reason);
        }

        return await RunAsync(Deadlines.Scale(Builds), "build", artefacts);
    }

    /// <summary>Runs a program to its end.</summary>
    /// <param name="timeout">How long at most.</param>
    /// <param name="program">A program, or one of the scripts.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <returns>The lines of its standard output; fails with its standard error if it does.</returns>
    public static async Task<string[]> RunAsync(TimeSpan timeout, string program, params string[] arguments)
    {
        string script = Path.Combine(Folder, program);
        var start = new ProcessStartInfo(File.Exists(script) ? script : program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> error = process.StandardError.ReadToEndAsync();
        using var limit = new CancellationTokenSource(timeout);
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException exception)
        {
            process.Kill(entireProcessTree: true);
            throw new MachineFailedException(
                $"{program} {string.Join(' ', arguments)} did not end within {timeout.TotalSeconds} s", exception);
        }

        return process.ExitCode == 0
            ? (await output).Split('\n', StringSplitOptions.RemoveEmptyEntries)
            : throw new MachineFailedException(
                $"{program} {string.Join(' ', arguments)}: exit status {process.ExitCode}\n{await error}");
    }

    private static string FindRepository()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "OpTeeMediator.sln")))
            {
                return folder.FullName;
            }
        }

        throw new DirectoryNotFoundException($"found no OpTeeMediator.sln above {AppContext.BaseDirectory}");
    }
}
