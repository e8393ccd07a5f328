using System.Diagnostics;
using System.Globalization;
using Iced.Intel;

namespace OpTeeMediator.BenchmarkTests.Code;

/// <summary>A process that makes one call over and over, and the instructions that a call executes in it.</summary>
/// <remarks>The runtime has its default settings, but for the file in which it says what lies where. So the code is
/// that which runs in a VMM: compiled by the tiered compiler, with a profile of this call.</remarks>
internal sealed class ObservedProcess : IDisposable
{
    private const int LongestInstruction = 15;

    // A call has some hundred; one that throws has many more.
    private const int MostSteps = 20_000;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("optee-code");
    private readonly Process _process;
    private readonly PerfMap _map;

    public ObservedProcess(string scenario)
    {
        ProcessStartInfo start = new("dotnet", [typeof(ObservedProcess).Assembly.Location, scenario])
        {
            RedirectStandardInput = true,
        };
        start.Environment["DOTNET_PerfMapEnabled"] = "3";
        start.Environment["DOTNET_PerfMapJitDumpPath"] = _folder.FullName;
        _process = Process.Start(start)!;
        _map = new PerfMap(Path.Combine(_folder.FullName, $"perf-{_process.Id}.map"));
    }

    /// <summary>Waits until all code of a call is the compiler's last.</summary>
    /// <param name="handler">The type of the handler.</param>
    /// <param name="deadline">How long to wait: on a busy computer the compiler may take its time.</param>
    public ExecutedCall FollowFinalCall(string handler, TimeSpan deadline)
    {
        for (Stopwatch waited = Stopwatch.StartNew(); ; Thread.Sleep(200))
        {
            ExecutedCall? call = TryFollowCall(handler);
            if (call is { IsFinal: true })
            {
                return call;
            }

            if (_process.HasExited || waited.Elapsed > deadline)
            {
                throw new TimeoutException(
                    $"The call's code was not compiled in time: {string.Join("; ", call?.Shares ?? [])}");
            }
        }
    }

    public void Dispose()
    {
        _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
        _folder.Delete(recursive: true);
    }

    /// <returns><see langword="null"/> if the process was interrupted, or is not yet so far.</returns>
    private ExecutedCall? TryFollowCall(string handler)
    {
        if (FindThread() is not { } id)
        {
            return null;
        }

        using TracedThread thread = new(id);
        _map.Read();
        List<Instruction>? probe = TryFollow(thread, typeof(RuntimeProbe).FullName!);
        List<Instruction>? call = TryFollow(thread, handler);
        if (probe is null || call is null)
        {
            return null;
        }

        // Again: the process compiles while its thread is followed.
        _map.Read();
        return new ExecutedCall(
            [.. call.Select(one => new ExecutedInstruction(one, _map.Find(one.IP)))],
            probe.Select(one => one.IP).Where(address => _map.Find(address) is null).ToHashSet());
    }

    private List<Instruction>? TryFollow(TracedThread thread, string handler)
    {
        HashSet<ulong> entries = _map.FindEntries($"{handler}::Handle");
        for (int steps = 0; !entries.Contains(thread.InstructionPointer); steps++)
        {
            if (steps == MostSteps || !thread.TryStep())
            {
                return null;
            }
        }

        ulong returnAddress = thread.ReadWord(thread.StackPointer);
        ulong stackPointer = thread.StackPointer;
        List<Instruction> executed = [];
        while (executed.Count < MostSteps
            && (thread.InstructionPointer != returnAddress || thread.StackPointer <= stackPointer))
        {
            ulong address = thread.InstructionPointer;
            Decoder decoder = Decoder.Create(64, thread.Read(address, LongestInstruction), address);
            executed.Add(decoder.Decode());
            if (!thread.TryStep())
            {
                return null;
            }
        }

        return executed;
    }

    private int? FindThread()
    {
        foreach (string task in Directory.EnumerateDirectories($"/proc/{_process.Id}/task"))
        {
            if (File.ReadAllText(Path.Combine(task, "comm")).TrimEnd() == RepeatedCall.ThreadName)
            {
                return int.Parse(Path.GetFileName(task), CultureInfo.InvariantCulture);
            }
        }

        return null;
    }
}
