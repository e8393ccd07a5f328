using OpTeeMediator.Machines.Agents;

namespace OpTeeMediator.Machines;

/// <summary>A TEE in a process of its own on the machine: samples/TeeDaemon, as root with workers of the user nobody.
/// There is one at a time, unless they have names.</summary>
public static class Daemon
{
    /// <summary>A folder that is its workers' own.</summary>
    public const string Folder = "/tmp/tee";

    /// <summary>The TEE of the one without a name, as the VMM's option says it.</summary>
    public const string Tee = $"remote:{Socket}";

    /// <summary>The process id of the one without a name, for the machine's shell.</summary>
    public const string Process = $"$(cat {PidFile})";

    /// <summary>The process ids of its workers, for the machine's shell.</summary>
    public const string Workers = $"$(ps -o pid,ppid | awk -v daemon={Process} '$2 == daemon {{ print $1 }}')";

    private const string Socket = Folder + "/socket";
    private const string Log = Folder + "/log";
    private const string PidFile = Folder + "/pid";

    /// <summary>The TEE of one with a name, as the VMM's option says it.</summary>
    /// <param name="name">The name.</param>
    /// <returns>The value of <c>--tee</c>.</returns>
    public static string TeeOf(string name) => Tee + name;

    /// <summary>Makes the folder, empty.</summary>
    /// <param name="machine">The machine, which has no daemon.</param>
    /// <returns>A task.</returns>
    public static Task PrepareAsync(Machine machine) =>
        RunAsync(machine, $"rm -rf {Folder} && mkdir {Folder} && chown nobody {Folder}");

    /// <summary>Starts it and waits until it listens; first for the end of the one before it.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="options">Its options.</param>
    /// <param name="name">Its name, if there are several.</param>
    /// <returns>A task; fails with its messages if it ends instead.</returns>
    public static Task StartAsync(Machine machine, string options, string name = "") => RunAsync(
        machine,
        $$"""
        name={{name}}
        while [ -e {{PidFile}}$name ] && kill -0 $(cat {{PidFile}}$name) 2> /dev/null; do sleep 0.1; done
        {{MachineFiles.Daemon}} --socket {{Socket}}$name --user nobody {{options}} > {{Log}}$name 2>&1 < /dev/null &
        echo $! > {{PidFile}}$name
        # The one before may have left its socket; the message has an id of its own.
        until [ -S {{Socket}}$name ] && grep -q 2640 {{Log}}$name; do
          kill -0 $! || { cat {{Log}}$name; exit 1; }
          sleep 0.1
        done
        """);

    /// <summary>Ends it as nothing else does, if there is one.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="name">Its name, if there are several.</param>
    /// <returns>A task.</returns>
    public static Task KillAsync(Machine machine, string name = "") =>
        machine.RunAsync($"kill -9 $(cat {PidFile}{name})");

    private static async Task RunAsync(Machine machine, string script)
    {
        CommandResult result = await machine.RunAsync(script);
        if (result.Status != 0)
        {
            throw new MachineFailedException($"the daemon: {result}");
        }
    }
}
