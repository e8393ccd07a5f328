using System.Diagnostics;
using System.Globalization;

namespace OpTeeMediator.RemoteTests.Soak;

/// <summary>Mixed work in a process of its own: 15 seconds, 30 minutes with OPTEE_MEDIATOR_FULL.</summary>
internal sealed class SoakTests
{
    [Test]
    public void Run_MixedWork_ProcessHoldsWhatItHeldBefore()
    {
        bool isFull = Environment.GetEnvironmentVariable("OPTEE_MEDIATOR_FULL") is { Length: > 0 };
        int seconds = isFull ? 30 * 60 : 15;
        ProcessStartInfo start =
            new(ServerProcess.ProgramPath, ["soak", seconds.ToString(CultureInfo.InvariantCulture)])
            {
                RedirectStandardOutput = true,
            };

        foreach ((string name, string value) in SoakRun.Settings)
        {
            start.Environment[name] = value;
        }

        using Process process = Process.Start(start)!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();

        TestContext.Out.WriteLine(output);
        Assert.That(process.ExitCode, Is.Zero, output);
    }
}
