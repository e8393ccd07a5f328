using System.Diagnostics;
using System.Globalization;
using OpTeeMediator.Backends;
using OpTeeMediator.Benchmarks.Scenarios;
using OpTeeMediator.Remote;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Benchmarks.Check;

/// <summary>What a command costs with the TEE in another process, beside the same in process, in one run.</summary>
internal static class RemoteReport
{
    /// <summary>The first argument of the process that is the server.</summary>
    public const string ServerArgument = "--remote-server";

    private const int Operations = 200;
    private const int Rounds = 301;

    /// <summary>Measures and prints.</summary>
    public static void Run(TextWriter output)
    {
        output.WriteLine($"{"invoke with four values",-28} {"ns",9} {"in process",10} {"ratio",7} {"bytes",6}");
        foreach (TeeExecution execution in Enum.GetValues<TeeExecution>())
        {
            string folder = Directory.CreateTempSubdirectory("optee-bench").FullName;
            string path = Path.Combine(folder, "tee");
            using Process server = StartServer(path, execution);
            using (Scenario remote = Invoke.WithValues(new RemoteTeeBackend(path)))
            using (Scenario local = Invoke.WithValues(new ScriptedBackend { Execution = execution }))
            {
                Measurement measured = Measurement.Take(remote, Operations, local, Operations, Rounds);
                output.WriteLine(string.Create(
                    CultureInfo.InvariantCulture,
                    $"{$"application: {execution}",-28} {measured.Nanoseconds,9:f0} "
                    + $"{measured.ReferenceNanoseconds,10:f0} {measured.Ratio,7:f1} "
                    + $"{measured.BytesPerThousand / 1000,6}"));
            }

            server.Kill();
            server.WaitForExit();
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Is the server, until it is killed.</summary>
    public static async Task ServeAsync(string path, string execution)
    {
        ScriptedBackend backend = new() { Execution = Enum.Parse<TeeExecution>(execution) };
        await using TeeServer server = TeeServer.Start(backend, new TeeServerOptions { SocketPath = path });
        Console.WriteLine("ready");
        await Task.Delay(Timeout.Infinite);
    }

    private static Process StartServer(string path, TeeExecution execution)
    {
        Process server = BudgetCheck.Start(null, ServerArgument, path, $"{execution}");
        _ = server.StandardOutput.ReadLine();
        return server;
    }
}
