using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Backends;
using OpTeeMediator.Remote;
using OpTeeMediator.RemoteTests.Soak;

namespace OpTeeMediator.RemoteTests;

/// <summary>The processes that tests start.</summary>
internal static class Program
{
    private static async Task<int> Main(string[] arguments)
    {
        if (TeeWorker.IsWorker(arguments))
        {
            ITeeBackend tee = arguments[0] == "saved" ? SavedApplication.CreateTee() : new CommandBackend();
            return TeeWorker.Run(arguments, tee, NullLoggerFactory.Instance);
        }

        switch (arguments)
        {
            case ["server", string path]:
                await using (TeeServer.Start(new CommandBackend(), new TeeServerOptions { SocketPath = path }))
                {
                    Console.WriteLine("ready");
                    await Task.Delay(Timeout.Infinite);
                }

                return 0;

            case ["saved", string path]:
                await using (TeeServer.Start(SavedApplication.CreateTee(), new TeeServerOptions
                {
                    SocketPath = path,
                    Workers = SavedApplication.Workers,
                }))
                {
                    Console.WriteLine("ready");
                    await Task.Delay(Timeout.Infinite);
                }

                return 0;

            case ["soak", string seconds]:
                // For this process, and not for those of its VMs.
                foreach (string setting in SoakRun.Settings.Keys)
                {
                    Environment.SetEnvironmentVariable(setting, null);
                }

                await using (SoakRun soak = new())
                {
                    TimeSpan time = TimeSpan.FromSeconds(double.Parse(seconds, CultureInfo.InvariantCulture));
                    return await soak.RunAsync(time, Console.Out) ? 0 : 1;
                }

            default:
                throw new InvalidOperationException($"There is no process '{string.Join(' ', arguments)}'.");
        }
    }
}
