using OpTeeMediator.Machines.Agents;

namespace OpTeeMediator.Machines;

/// <summary>A TEE in a process of its own on the machine: samples/TeeDaemon, as root with workers of the user nobody.
/// There is one at a time.</summary>
public static class Daemon
{
    /// <summary>A folder that is its workers' own.</summary>
    public const string Folder = "/tmp/tee";

    /// <summary>Its TEE, as the VMM's option says it.</summary>
    public const string Tee = $"remote:{Socket}";

    /// <summary>Its process id, for the machine's shell.</summary>
    public const string Process = $"$(cat {PidFile})";

    /// <summary>The process ids of its workers, for the machine's shell.</summary>
    public const string Workers = $"$(ps -o pid,ppid | awk -v daemon={Process} '$2 == daemon {{ print $1 }}')";

    private const string Socket = Folder + "/socket";
    private const string Log = Folder + "/log";
    private const string PidFile = Folder + "/pid";

    /// <summary>Makes the folder, empty.</summary>
    /// <param name="machine">The machine, which has no daemon.</param>
    /// <returns>A task.</returns>
    public static Task PrepareAsync(Machine machine) =>
        RunAsync(machine, $"rm -rf {Folder} && mkdir {Folder} && chown nobody {Folder}");

    /// <summary>Starts it and waits until it listens; first for the end of the one before it.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="options">Its options.</param>
    /// <returns>A task; fails with its messages if it ends instead.</returns>
    public static Task StartAsync(Machine machine, string options) => RunAsync(
        machine,
        $$"""
        while [ -e {{PidFile}} ] && kill -0 {{Process}} 2> /dev/null; do sleep 0.1; done
        {{MachineFiles.Daemon}} --socket {{Socket}} --user nobody {{options}} > {{Log}} 2>&1 < /dev/null &
        echo $! > {{PidFile}}
        # The one before may have left its socket; the message has an id of its own.
        until [ -S {{Socket}} ] && grep -q 2640 {{Log}}; do
          kill -0 $! || { cat {{Log}}; exit 1; }
          sleep 0.1
        done
        """);

    /// <summary>Ends it as nothing else does, if there is one.</summary>
    /// <param name="machine">The machine.</param>
    /// <returns>A task.</returns>
    public static Task KillAsync(Machine machine) => machine.RunAsync($"kill -9 {Process}");

    private static async Task RunAsync(Machine machine, string script)
    {
        CommandResult result = await machine.RunAsync(script);
        if (result.Status != 0)
        {
            throw new MachineFailedException($"the daemon: {result}");
        }
    }
}
