using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using OpTeeMediator.Machines.Agents;

namespace OpTeeMediator.Machines;

/// <summary>The emulated arm64 machine with KVM, and with TrustZone unless told otherwise: booted, asked to run
/// commands, and switched off.</summary>
public sealed class Machine : IAsyncDisposable
{
    private const int TailLength = 4000;

    private static readonly string[] LogNames = ["boot", "console", "optee", "host", "guest1", "guest2"];

    private static readonly TimeSpan Boots = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan BootsWhenIdle = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan Asks = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Ends = TimeSpan.FromSeconds(15);

    // The machine ends with this process, however that ends: its standard input is then closed.
    internal const string Keeper = """
        exec 3<&0
        "$@" < /dev/null > "$LOG" 2>&1 & machine=$!
        cat <&3 > /dev/null & keeper=$!
        wait -n "$machine" "$keeper"
        kill "$machine" "$keeper" 2> /dev/null
        for _ in {1..50}; do kill -0 "$machine" 2> /dev/null || exit; sleep 0.1; done
        kill -9 "$machine" # qemu ends no other way when a CPU of it waits for us
        """;

    private readonly string _folder;
    private readonly Process _process;
    private readonly ConcurrentDictionary<string, bool> _guestKernels = new();
    private AgentLine? _host;

    private Machine(string folder, Process process)
    {
        _folder = folder;
        _process = process;
    }

    /// <summary>The agent on the host.</summary>
    public AgentLine Host => _host ?? throw new InvalidOperationException("The machine has not booted.");

    /// <summary>The version of its Linux, such as <c>6.12.117</c>.</summary>
    public string Kernel { get; private set; } = "";

    /// <summary>The versions of Linux of the guests that have run on it.</summary>
    public IReadOnlyCollection<string> GuestKernels => [.. _guestKernels.Keys];

    /// <summary>Boots a machine.</summary>
    /// <param name="options">How it is to be.</param>
    /// <returns>The machine, its host ready.</returns>
    public static async Task<Machine> BootAsync(MachineOptions options)
    {
        // What boot needs is made here: nothing is built while something waits for the machine.
        await MachineScripts.BuildAsync(options.HasSecureWorld ? ["host", "firmware"] : ["host"]);

        // Short: a socket's path has at most 107 bytes.
        string folder = Directory.CreateTempSubdirectory("optee-").FullName;
        string[] arguments =
        [
            "-c", Keeper, "bash", Path.Combine(MachineScripts.Folder, "boot"),
            "--memory", options.Memory, "--cpus", options.Cpus.ToString(CultureInfo.InvariantCulture),
            .. options.HasSecureWorld ? Array.Empty<string>() : ["--no-secure-world"],
            .. options.HasNetwork ? ["--network"] : Array.Empty<string>(),
            .. options.Disk is null ? Array.Empty<string>() : ["--disk", options.Disk],
            folder,
        ];
        var start = new ProcessStartInfo("bash", arguments) { RedirectStandardInput = true };
        start.Environment["LOG"] = Path.Combine(folder, "boot.log");
        long started = Stopwatch.GetTimestamp();
        var machine = new Machine(folder, Process.Start(start)!);
        try
        {
            await machine.ConnectAsync();
            Deadlines.Measured(Stopwatch.GetElapsedTime(started), BootsWhenIdle);
            machine.Kernel = await ReadKernelAsync(machine.Host);
            return machine;
        }
        catch
        {
            await machine.DisposeAsync();
            throw;
        }
    }

    /// <summary>Runs a shell script on the host.</summary>
    /// <param name="script">The script.</param>
    /// <param name="seconds">How long it may take on an idle computer.</param>
    /// <returns>How it ended.</returns>
    public Task<CommandResult> RunAsync(string script, int seconds = 60) =>
        Host.RunAsync(script, TimeSpan.FromSeconds(seconds));

    /// <summary>Notes the version of a guest's Linux.</summary>
    /// <param name="console">The guest's console.</param>
    /// <returns>A task.</returns>
    internal async Task NoteGuestAsync(AgentLine console) => _guestKernels[await ReadKernelAsync(console)] = true;

    /// <summary>The version of Linux somewhere.</summary>
    /// <param name="line">Where.</param>
    /// <returns>Without Debian's suffix.</returns>
    internal static async Task<string> ReadKernelAsync(AgentLine line) =>
        (await line.RunAsync("uname -r | sed 's/[^0-9.].*//'", Asks)).Output;

    /// <summary>Connects to the line of a guest's console.</summary>
    /// <param name="number">1 to 4.</param>
    /// <returns>The line.</returns>
    public Task<AgentLine> ConnectGuestAsync(int number) => ConnectAsync($"guest{number}");

    /// <summary>The ends of the machine's logs.</summary>
    /// <returns>A text for a message.</returns>
    public string Logs() =>
        string.Join('\n', LogNames.Select(Tail).Where(tail => tail.Length > 0));

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_host is not null)
        {
            await _host.DisposeAsync();
        }

        _process.StandardInput.Close();
        using var limit = new CancellationTokenSource(Deadlines.Scale(Ends));
        try
        {
            await _process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            _process.Kill(entireProcessTree: true);
        }

        _process.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private async Task ConnectAsync()
    {
        _host = await ConnectAsync("host");
        Task ready = _host.Announcement;
        Task end = _process.WaitForExitAsync();
        using var limit = new CancellationTokenSource(Deadlines.Scale(Boots));
        while (!ready.IsCompleted && !limit.IsCancellationRequested && !end.IsCompleted)
        {
            await Task.WhenAny(ready, end, Task.Delay(Asks, limit.Token));
            if (!ready.IsCompleted && !end.IsCompleted)
            {
                await _host.AskAsync();
            }
        }

        await _host.WaitForAsync(ready, TimeSpan.Zero);
    }

    private Task<AgentLine> ConnectAsync(string name) =>
        AgentLine.ConnectAsync(Path.Combine(_folder, name + ".sock"), _process, Logs);

    private string Tail(string name)
    {
        var file = new FileInfo(Path.Combine(_folder, name + ".log"));
        if (!file.Exists || file.Length == 0)
        {
            return "";
        }

        using var reader =
            new StreamReader(new FileStream(file.FullName, FileMode.Open, FileAccess.Read, FileShare.ReadWrite));
        reader.BaseStream.Seek(-Math.Min(TailLength, file.Length), SeekOrigin.End);
        return $"--- {name}.log\n{reader.ReadToEnd()}";
    }
}
