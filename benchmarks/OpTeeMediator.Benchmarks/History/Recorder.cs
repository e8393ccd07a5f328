using System.Diagnostics;
using System.Globalization;
using OpTeeMediator.Benchmarks.Check;
using OpTeeMediator.Benchmarks.Scenarios;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Benchmarks.History;

/// <summary>Measures all that a record has.</summary>
internal static class Recorder
{
    private const int Processes = 2;
    private const int Rounds = 301;

    /// <summary>Measures.</summary>
    /// <param name="commit">What is measured.</param>
    /// <param name="program">This program, compiled by NativeAOT; <see langword="null"/> not to measure that.</param>
    public static BenchmarkRecord Record(string commit, string? program)
    {
        string[] names =
            [.. MeasuredScenario.All.Where(one => one.CreateReference is null).Select(one => one.Name)];
        Dictionary<string, Measurement> jit = [];
        Dictionary<string, Measurement> aot = [];
        for (int process = 0; process < Processes; process++)
        {
            // In turn: so what else the computer does falls on both.
            BudgetCheck.MeasureInAnotherProcess(null, names, jit);
            if (program is not null)
            {
                BudgetCheck.MeasureInAnotherProcess(program, names, aot);
            }
        }

        return new BenchmarkRecord(
            DateOnly.FromDateTime(DateTime.UtcNow), commit, ReadProcessor(), ReadLoad(),
            [.. names.Select(name => new PathFigure(
                name, ToFigure(jit[name]), aot.TryGetValue(name, out Measurement? one) ? ToFigure(one) : null))],
            MeasureGrowth(), MeasureVms());
    }

    private static List<GrowthFigure> MeasureGrowth()
    {
        List<GrowthFigure> figures = [];
        Measure(GrowthKind.Sessions, [1, 4, 16, 64, 256, 1000], sessions => new InvokeInTurn(1, sessions));
        Measure(GrowthKind.Buffers, [4, 16, 64, 256, 1000], Invoke.WithMemory);
        Measure(GrowthKind.Vms, [1, 4, 16, 64, 256], vms => new InvokeInTurn(vms, 1));
        return figures;

        void Measure(GrowthKind kind, int[] counts, Func<int, Scenario> create)
        {
            foreach (int count in counts)
            {
                using Scenario scenario = create(count);
                using BareInvoke reference = new();
                Measurement measured = Measurement.Take(
                    scenario, Math.Max(count, 500), reference, BareInvoke.OperationsOfRound, Rounds);
                figures.Add(new GrowthFigure(kind, count, ToFigure(measured)));
            }
        }
    }

    private static List<VmFigure> MeasureVms()
    {
        const ulong RamStart = 0x4000_0000;
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(new GuestRange(RamStart, 16 << 20));
        ScriptedBackend backend = new();
        List<VmFigure> figures = [];
        foreach (int count in (int[])[1, 4, 16, 64, 256])
        {
            double[] times = new double[Math.Max(11, 1024 / count)];
            long bytes = 0;
            for (int round = 0; round < times.Length; round++)
            {
                OpTeeGuest[] vms = new OpTeeGuest[count];
                long before = GC.GetAllocatedBytesForCurrentThread();
                long start = Stopwatch.GetTimestamp();
                for (int vm = 0; vm < count; vm++)
                {
                    vms[vm] = new OpTeeGuest(memory, backend);
                }

                times[round] = Stopwatch.GetElapsedTime(start).TotalMicroseconds / count;
                bytes = (GC.GetAllocatedBytesForCurrentThread() - before) / count;
                Task.WhenAll(vms.Select(vm => vm.DisposeAsync().AsTask())).GetAwaiter().GetResult();
            }

            figures.Add(new VmFigure(
                count, Math.Round(Measurement.LowerTenth(times), 1), Math.Round(bytes / 1024.0, 1)));
        }

        return figures;
    }

    private static Figure ToFigure(Measurement measured) =>
        new(Math.Round(measured.Nanoseconds, 1), Math.Round(measured.Ratio, 2));

    internal static string ReadProcessor()
    {
        const string Key = "model name";
        string? line = File.ReadLines("/proc/cpuinfo")
            .FirstOrDefault(line => line.StartsWith(Key, StringComparison.Ordinal));
        return $"{line?.Split(':')[1].Trim() ?? "unknown"}, {Environment.ProcessorCount} cores";
    }

    private static double ReadLoad() =>
        double.Parse(File.ReadAllText("/proc/loadavg").Split(' ')[0], CultureInfo.InvariantCulture);
}
