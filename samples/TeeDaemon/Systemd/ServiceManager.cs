using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace TeeDaemon.Systemd;

/// <summary>What systemd passes to a service and wants to know of it (sd_listen_fds, sd_notify).</summary>
internal static class ServiceManager
{
    // SD_LISTEN_FDS_START.
    private const int FirstDescriptor = 3;

    /// <summary>The socket by whose first connection the daemon was started, or that was made for it.</summary>
    /// <returns><see langword="null"/> if none was passed to this process.</returns>
    public static Socket? TakeSocket()
    {
        string? process = Environment.GetEnvironmentVariable("LISTEN_PID");
        string? count = Environment.GetEnvironmentVariable("LISTEN_FDS");
        return process == Environment.ProcessId.ToString(CultureInfo.InvariantCulture) && count == "1"
            ? new Socket(new SafeSocketHandle(FirstDescriptor, ownsHandle: true))
            : null;
    }

    /// <summary>Tells the service manager that connections are served.</summary>
    public static void NotifyReady()
    {
        if (Environment.GetEnvironmentVariable("NOTIFY_SOCKET") is not { Length: > 1 } path)
        {
            return;
        }

        using Socket socket = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        UnixDomainSocketEndPoint manager = new(path[0] == '@' ? $"\0{path[1..]}" : path);
        _ = socket.SendTo(Encoding.ASCII.GetBytes("READY=1"), manager);
    }
}
