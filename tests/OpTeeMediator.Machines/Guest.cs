using System.Diagnostics;
using System.Globalization;
using OpTeeMediator.Machines.Agents;

namespace OpTeeMediator.Machines;

/// <summary>A guest on the machine: our VMM with Linux in it.</summary>
public sealed class Guest : IAsyncDisposable
{
    private static readonly TimeSpan Boots = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan BootsWhenIdle = TimeSpan.FromSeconds(6);
    private static readonly TimeSpan Ends = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan Lives = TimeSpan.FromHours(1);

    private readonly Machine _machine;
    private readonly int _number;

    private Guest(Machine machine, int number, AgentLine console, Task<CommandResult> exit)
    {
        _machine = machine;
        _number = number;
        Console = console;
        Exit = exit;
    }

    /// <summary>The agent in the guest.</summary>
    public AgentLine Console { get; }

    /// <summary>Completes when the VMM has ended; its output is what the VMM logged.</summary>
    public Task<CommandResult> Exit { get; private set; }

    private string PidFile => PidFileOf(_number);

    /// <summary>Starts a guest and waits until it is ready.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="number">Which of the machine's lines its console has, 1 to 4.</param>
    /// <param name="options">How it is to be.</param>
    /// <returns>The guest; fails with the VMM's messages if it ends instead.</returns>
    public static Task<Guest> StartAsync(Machine machine, int number, GuestOptions options) =>
        StartWithAsync(machine, number, CommandOf(number, options));

    /// <summary>Starts a guest by a command as people type it, and waits until it is ready.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="number">Which of the machine's lines its console has, 1 to 4.</param>
    /// <param name="command">The command, to which the guest's mode is added.</param>
    /// <returns>The guest; fails with the VMM's messages if it ends instead.</returns>
    public static Task<Guest> StartAsync(Machine machine, int number, string command) =>
        StartWithAsync(machine, number, $"""
            on-console {number} sh -c 'echo $$ > {PidFileOf(number)}; exec {command} \
              --cmdline "console=ttyAMA0 quiet guest_mode=agent"'
            """);

    private static async Task<Guest> StartWithAsync(Machine machine, int number, string command)
    {
        AgentLine console = await machine.ConnectGuestAsync(number);
        Task ready = console.Announcement;
        long started = Stopwatch.GetTimestamp();
        Task<CommandResult> exit = machine.Host.RunAsync(command, Lives);
        var guest = new Guest(machine, number, console, exit);
        try
        {
            Task first = await Task.WhenAny(ready, exit, Task.Delay(Deadlines.Scale(Boots)));
            if (first == exit)
            {
                throw new MachineFailedException(
                    $"the VMM ended before the guest was there: {await exit}\n{machine.Logs()}");
            }

            await console.WaitForAsync(ready, TimeSpan.Zero);
            Deadlines.Measured(Stopwatch.GetElapsedTime(started), BootsWhenIdle);
            await machine.NoteGuestAsync(console);
            return guest;
        }
        catch
        {
            await guest.DisposeAsync();
            throw;
        }
    }

    /// <summary>The command that runs the VMM.</summary>
    /// <param name="number">Which of the machine's lines the console has.</param>
    /// <param name="options">How the guest is to be.</param>
    /// <returns>A command of the host's shell, which ends with the VMM and has its exit
    /// status and its messages.</returns>
    public static string CommandOf(int number, GuestOptions options) => $"""
        on-console {number} sh -c 'echo $$ > {PidFileOf(number)}; exec {VmmOf(options)}'
        """;

    private static string VmmOf(GuestOptions options) => $"""
        {options.Wrapper} {MachineFiles.Vmm} \
          --kernel {MachineFiles.Kernel(options.Kernel)} --initrd {MachineFiles.Initramfs(options.Kernel)} \
          --cmdline "console=ttyAMA0 quiet guest_mode=agent" \
          --memory {options.Memory} --cpus {options.Cpus} --tee {options.Tee} --allow {options.Allow} \
          {(options.Disk.Length > 0 ? $"--disk {options.Disk}" : "")} \
          --notify {(options.Notifications ? "on" : "off")} --log {options.Log} {options.More}
        """;

    /// <summary>How many interrupts the guest's driver has had from its TEE since it was bound.</summary>
    /// <returns>The number.</returns>
    public async Task<int> NotificationsAsync()
    {
        // LINE: COUNT-OF-CPU0 … CONTROLLER INPUT TRIGGER NAME
        CommandResult result = await RunAsync(
            "awk '/optee_notification/ { for (i = 2; $i ~ /^[0-9]+$/; i++) count += $i } END { print count + 0 }' "
            + "/proc/interrupts");
        return int.Parse(result.Output, CultureInfo.InvariantCulture);
    }

    /// <summary>Runs a shell script in the guest.</summary>
    /// <param name="script">The script.</param>
    /// <param name="seconds">How long it may take on an idle computer.</param>
    /// <returns>How it ended.</returns>
    public Task<CommandResult> RunAsync(string script, int seconds = 60) =>
        Console.RunAsync(script, TimeSpan.FromSeconds(seconds));

    /// <summary>Does something that makes the guest start again, and waits until it has.</summary>
    /// <param name="script">What it does, such as <c>reboot -f</c>.</param>
    /// <returns>A task.</returns>
    public async Task RestartAsync(string script)
    {
        Task ready = Console.Announcement;
        _ = RunAsync(script); // never ends
        await Console.WaitForAsync(ready, Boots);
    }

    /// <summary>Has the VMM save the guest, which was started with <c>--save</c>, and end.</summary>
    /// <returns>How the VMM ended.</returns>
    /// <remarks>Commands of the guest that run go on after <see cref="RestoreAsync"/>; none may be begun
    /// meanwhile.</remarks>
    public async Task<CommandResult> SaveAsync()
    {
        await AskToSaveAsync();
        return await EndAsync();
    }

    /// <summary>Asks the VMM to save the guest, and waits for nothing.</summary>
    /// <returns>A task that ends when the VMM has been asked.</returns>
    public async Task AskToSaveAsync() => await _machine.RunAsync($"kill -USR1 $(cat {PidFile})");

    /// <summary>Waits until the VMM has ended by itself, or as it was asked to.</summary>
    /// <returns>How it ended; fails if it does not.</returns>
    public async Task<CommandResult> EndAsync()
    {
        try
        {
            return await Exit.WaitAsync(Deadlines.Scale(Ends));
        }
        catch (TimeoutException exception)
        {
            throw new MachineFailedException(
                $"the VMM did not end within {Deadlines.Scale(Ends).TotalSeconds:0} s\n{_machine.Logs()}", exception);
        }
    }

    /// <summary>Asks the VMM to save the guest, and kills it while it writes the state.</summary>
    /// <param name="state">The state's file, as <c>--save</c> has it; FILE.unfinished gets what it has written up to
    /// then.</param>
    /// <param name="bytes">How many bytes the VMM has written at least; it has more to write than a pipe takes.</param>
    /// <returns>Fails if the VMM has ended before it was killed.</returns>
    /// <remarks>What it writes goes into a pipe whose reader stops: however fast it is, it cannot write all.</remarks>
    public async Task<CommandResult> KillWhileSavingAsync(string state, int bytes)
    {
        string unfinished = state + ".unfinished";
        CommandResult result = await _machine.RunAsync(
            $$"""
            pid=$(cat {{PidFile}})
            rm -f {{unfinished}} {{state}}.part && mkfifo {{unfinished}} || exit 1
            (head -c {{bytes}} > {{state}}.part; exec sleep 3600) < {{unfinished}} &
            kill -USR1 $pid
            until [ "$(stat -c %s {{state}}.part)" = {{bytes}} ] || ! kill -0 $pid; do sleep 0.1; done
            kill -9 $pid
            killed=$?
            kill $!
            mv {{state}}.part {{unfinished}}
            exit $killed
            """);
        await EndAsync();
        return result;
    }

    /// <summary>Goes on with the guest in another process of the VMM.</summary>
    /// <param name="options">How it was, and <c>--restore</c>.</param>
    /// <returns>A task that ends when the guest answers; fails with the VMM's messages if it ends instead.</returns>
    public async Task RestoreAsync(GuestOptions options)
    {
        Exit = _machine.Host.RunAsync(CommandOf(_number, options), Lives);
        Task answer = RunAsync("true");
        if (await Task.WhenAny(answer, Exit) == Exit)
        {
            throw new MachineFailedException($"the VMM ended instead: {await Exit}\n{_machine.Logs()}");
        }

        await answer;
    }

    /// <summary>Has the VMM, which was started with <c>--migrate-to</c>, move the guest to another process of it while
    /// the guest runs. Both have the same console.</summary>
    /// <param name="options">How the guest was, and <c>--migrate-from</c>.</param>
    /// <param name="socket">The path of that.</param>
    /// <returns>A task that ends when one of the processes has ended: see what they have logged.</returns>
    public async Task MoveAsync(GuestOptions options, string socket)
    {
        string next = PidFile + ".next";
        Task<CommandResult> arrival = _machine.Host.RunAsync(
            $"""
            source=$(cat {PidFile})
            exec sh -c 'echo $$ > {next}; exec {VmmOf(options)}' < /proc/$source/fd/0 > /proc/$source/fd/1
            """,
            Lives);
        await _machine.RunAsync(
            $"""
            source=$(cat {PidFile})
            until [ -S {socket} ]; do sleep 0.1; done
            kill -USR2 $source
            while kill -0 $source 2> /dev/null && kill -0 $(cat {next}) 2> /dev/null; do sleep 0.1; done
            """,
            seconds: 120);
        if ((await _machine.RunAsync($"kill -0 $(cat {PidFile})")).Status == 0)
        {
            return;
        }

        await _machine.RunAsync($"mv {next} {PidFile}");
        Exit = arrival;
    }

    /// <summary>Has the guest switch itself off.</summary>
    /// <returns>How the VMM ended.</returns>
    public async Task<CommandResult> PowerOffAsync()
    {
        _ = RunAsync("poweroff -f"); // never ends
        return await EndAsync();
    }

    /// <summary>Ends the VMM as nothing else does.</summary>
    /// <returns>A task that completes when it has ended.</returns>
    public async Task KillAsync()
    {
        await _machine.RunAsync($"kill -9 $(cat {PidFile})");
        await EndAsync();
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        try
        {
            if (!Exit.IsCompleted)
            {
                await KillAsync();
            }
        }
        catch (MachineFailedException)
        {
            // The machine is broken, which the user of the guest has seen or will see.
        }

        await Console.DisposeAsync();
    }

    private static string PidFileOf(int number) => $"/run/guest{number}.pid";
}
