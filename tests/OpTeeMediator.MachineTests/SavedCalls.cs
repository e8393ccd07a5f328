using OpTeeMediator.Machines;

namespace OpTeeMediator.MachineTests;

/// <summary>The client whose calls are in flight when its VM is saved or moved: sessions, registered and temporary
/// memory, a call that lasts with a file open at the supplicant, timers.</summary>
internal static class SavedCalls
{
    /// <summary>Runs it until /run/stop is there.</summary>
    public static string Command { get; } = $"{MachineFiles.Program("saved-calls")} /run/count /run/stop";

    /// <summary>Waits until each of its threads has ended more than the round in which it was.</summary>
    public static async Task ProgressAsync(Guest guest) => (await guest.RunAsync(
        """
        until [ -s /run/count ]; do sleep 0.1; done
        before=$(cat /run/count)
        until [ "$(cat /run/count)" -gt $((before + 1)) ]; do
          pidof saved-calls > /dev/null || exit 1
          sleep 0.1
        done
        """,
        seconds: 120)).Succeeded();
}
