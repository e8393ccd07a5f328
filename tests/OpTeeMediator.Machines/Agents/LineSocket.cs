using System.Diagnostics;
using System.Net.Sockets;

namespace OpTeeMediator.Machines.Agents;

/// <summary>Connects to the socket of one of a machine's serial lines.</summary>
internal static class LineSocket
{
    private static readonly TimeSpan Appears = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(100);

    /// <summary>Connects to a socket.</summary>
    /// <param name="path">The socket; it may take a moment to appear.</param>
    /// <param name="machine">The process that makes it.</param>
    /// <param name="logs">Gives the ends of the logs, for messages.</param>
    /// <returns>The socket, or a failure with the ends of the logs if it does not appear.</returns>
    public static async Task<Socket> ConnectAsync(string path, Process machine, Func<string> logs)
    {
        TimeSpan limit = Deadlines.Scale(Appears);
        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(path));
                return socket;
            }
            catch (SocketException exception)
            {
                socket.Dispose();
                if (machine.HasExited)
                {
                    throw new MachineFailedException($"the machine ended before {path} was there\n{logs()}", exception);
                }

                if (Stopwatch.GetElapsedTime(start) > limit)
                {
                    throw new MachineFailedException(
                        $"cannot connect to {path} within {limit.TotalSeconds:0} s\n{logs()}", exception);
                }
            }

            await Task.Delay(Pause);
        }
    }
}
