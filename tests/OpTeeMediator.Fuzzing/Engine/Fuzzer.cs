using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;

namespace OpTeeMediator.Fuzzing.Engine;

/// <summary>Executes a target with inputs that it makes of earlier ones, and keeps those that reach new code.</summary>
/// <remarks>In one process and one thread: an execution costs what the target costs, and about a microsecond to look at
/// the coverage. Crashes of the process leave their input in a file (<see cref="CurrentInput"/>).</remarks>
internal sealed class Fuzzer : IDisposable
{
    // How many executions warm up what grows at first: pools, tables, compiled code.
    private const long WarmUp = 20_000;
    private const long LargestGrowth = 16 << 20;

    private readonly string _name;
    private readonly FuzzTarget _target;
    private readonly string _corpusFolder;
    private readonly string _findings;
    private readonly CurrentInput _current;
    private readonly CoverageMap _coverage = new();
    private readonly Mutator _mutator;
    private readonly List<byte[]> _corpus = [];
    private long _executions;
    private long _memory;
    private long _resident;
    private long _kept;

    /// <param name="name">The target's name.</param>
    /// <param name="create">Creates the target; instrumented code may run only after the coverage map is there.</param>
    /// <param name="corpus">The folder of the inputs to begin with, and where new ones go.</param>
    /// <param name="findings">The folder for findings.</param>
    /// <param name="seed">Of the random changes.</param>
    public Fuzzer(string name, Func<string, FuzzTarget> create, string corpus, string findings, ulong seed)
    {
        _name = name;
        _target = create(name);
        _corpusFolder = corpus;
        _findings = findings;
        _ = Directory.CreateDirectory(corpus);
        _ = Directory.CreateDirectory(findings);
        _current = new CurrentInput(Path.Combine(findings, $"{name}.current"), _target.MaximumLength);
        _mutator = new Mutator(seed);
    }

    /// <summary>Fuzzes.</summary>
    /// <param name="time">How long.</param>
    /// <param name="log">Gets a line with the figures.</param>
    /// <returns>Whether nothing was found.</returns>
    public bool Run(TimeSpan time, TextWriter log)
    {
        using HangDetector detector = new(() => Volatile.Read(ref _executions), () => Save("hang"));
        Stopwatch watch = Stopwatch.StartNew();
        byte[][] known = [.. Known()];
        bool isClean = known.All(TryLoad);
        while (isClean && watch.Elapsed < time)
        {
            for (int round = 0; round < 256 && isClean; round++)
            {
                isClean = Step();
            }
        }

        if (isClean && Growth() is long growth)
        {
            log.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{_name}: {_memory >> 10} KiB of managed memory after {WarmUp} executions, "
                + $"{growth / 1024:+0;-0;+0} KiB since without new inputs; "
                + $"{_resident >> 10} KiB resident, {Environment.WorkingSet >> 10} KiB now"));
            isClean = growth <= LargestGrowth;
        }

        log.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{_name}: {_executions} executions in {watch.Elapsed.TotalSeconds:f0} s, "
            + $"{Environment.CpuUsage.TotalTime.TotalSeconds:f0} s of a processor, {_coverage.Edges} edges, "
            + $"{_corpus.Count} inputs{(isClean ? "" : ", FOUND")}"));
        return isClean;
    }

    /// <summary>Writes those of the known inputs, short ones first, that reach code which none before
    /// reaches.</summary>
    public void Minimize(string folder)
    {
        if (Directory.Exists(folder))
        {
            Directory.Delete(folder, recursive: true);
        }

        _ = Directory.CreateDirectory(folder);
        _coverage.Counts = false;
        foreach (byte[] input in Known())
        {
            if (Try(input) && _coverage.End())
            {
                File.WriteAllBytes(Path.Combine(folder, NameOf(input)), input);
            }
        }
    }

    public void Dispose() => _current.Dispose();

    // Short inputs first, so that long ones that add nothing are left out.
    private IEnumerable<byte[]> Known() => Directory.GetFiles(_corpusFolder).Select(File.ReadAllBytes)
        .Concat(_target.Seeds)
        .Where(input => input.Length <= _target.MaximumLength)
        .OrderBy(input => input.Length);

    private static string NameOf(ReadOnlySpan<byte> input) =>
        $"{Convert.ToHexStringLower(SHA256.HashData(input)[..8])}.bin";

    private bool TryLoad(byte[] input)
    {
        bool isClean = Try(input);
        if (_coverage.End())
        {
            _corpus.Add(input);
        }

        return isClean;
    }

    private bool Try(byte[] input)
    {
        input.CopyTo(_current.Buffer);
        _current.Length = input.Length;
        return Execute();
    }

    private bool Step()
    {
        // Half of the time one of the newest.
        int newest = Math.Max(_corpus.Count / 4, 1);
        int index = _corpus.Count == 0 ? -1 : _mutator.Below(2) == 0
            ? _mutator.Below(_corpus.Count)
            : _corpus.Count - 1 - _mutator.Below(newest);
        byte[] parent = index < 0 ? [] : _corpus[index];
        byte[] other = index < 0 ? [] : _corpus[_mutator.Below(_corpus.Count)];
        parent.CopyTo(_current.Buffer);
        _current.Length = _mutator.Mutate(_current.Buffer, parent.Length, other);
        bool isClean = Execute();
        if (_coverage.End() && isClean)
        {
            byte[] input = _current.Buffer[.._current.Length].ToArray();
            _corpus.Add(input);
            _kept += input.Length;
            File.WriteAllBytes(Path.Combine(_corpusFolder, NameOf(input)), input);
        }

        if (_executions == WarmUp)
        {
            _memory = GC.GetTotalMemory(forceFullCollection: true);
            _resident = Environment.WorkingSet;
            _kept = 0;
        }

        return isClean;
    }

    private bool Execute()
    {
        CoverageMap.Begin();
        try
        {
            _target.Execute(_current.Buffer[.._current.Length]);
        }
        catch (Exception exception)
        {
            Save("crash");
            Console.Error.WriteLine($"{_name}: {exception}");
            return false;
        }
        finally
        {
            Volatile.Write(ref _executions, _executions + 1);
        }

        return true;
    }

    private long? Growth() => _executions <= WarmUp
        ? null
        : GC.GetTotalMemory(forceFullCollection: true) - _memory - _kept;

    private void Save(string kind)
    {
        byte[] input = _current.Buffer[.._current.Length].ToArray();
        string path = Path.Combine(_findings, $"{_name}.{kind}.{NameOf(input)}");
        File.WriteAllBytes(path, input);
        Console.Error.WriteLine($"{_name}: {kind}, input in {path}");
    }
}
