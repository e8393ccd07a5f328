using System.Globalization;
using OpTeeMediator.Fuzzing.Engine;

namespace OpTeeMediator.Fuzzing;

/// <summary>What <c>tests/fuzz/run</c> starts.</summary>
/// <remarks>
/// <code>
/// --list
/// --fuzz TARGET SECONDS CORPUS FINDINGS: executes the target; new inputs go to CORPUS.
/// --minimize TARGET CORPUS OUTPUT: writes the inputs of CORPUS that are needed for what all of them reach.
/// --replay TARGET FILE: executes one input.
/// </code>
/// </remarks>
internal static class Program
{
    private static int Main(string[] args)
    {
        switch (args)
        {
            case ["--list"]:
                foreach (string name in FuzzTargets.Names)
                {
                    Console.WriteLine(name);
                }

                return 0;

            case ["--fuzz", string target, string seconds, string corpus, string findings]:
                using (Fuzzer fuzzer = new(
                    target, FuzzTargets.Create, corpus, findings, (ulong)Random.Shared.NextInt64()))
                {
                    TimeSpan time = TimeSpan.FromSeconds(double.Parse(seconds, CultureInfo.InvariantCulture));
                    return fuzzer.Run(time, Console.Out) ? 0 : 2;
                }

            case ["--minimize", string target, string corpus, string output]:
                using (Fuzzer fuzzer = new(target, FuzzTargets.Create, corpus, Path.GetTempPath(), 0))
                {
                    fuzzer.Minimize(output);
                }

                return 0;

            case ["--replay", string target, string file]:
                _ = new CoverageMap();
                FuzzTargets.Create(target).Execute(File.ReadAllBytes(file));
                return 0;

            default:
                Console.Error.WriteLine("usage: see tests/fuzz/run");
                return 1;
        }
    }
}
