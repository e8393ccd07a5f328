using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace KvmVmm.Migration;

/// <summary>Where the destination of a move listens: the path of a Unix socket, or an IP address and a port.</summary>
internal sealed class MigrationAddress
{
    private readonly EndPoint _endPoint;

    private MigrationAddress(EndPoint endPoint) => _endPoint = endPoint;

    /// <summary>Whether others than the users who may open a path can connect.</summary>
    public bool IsNetwork => _endPoint is IPEndPoint;

    /// <summary>Reads an address: with a '/', a path; otherwise ADDRESS:PORT.</summary>
    /// <param name="text">The text.</param>
    /// <returns>The address, or <see langword="null"/> if it is none.</returns>
    public static MigrationAddress? TryParse(string text)
    {
        if (text.Contains('/', StringComparison.Ordinal))
        {
            try
            {
                return new MigrationAddress(new UnixDomainSocketEndPoint(text));
            }
            catch (ArgumentException)
            {
                return null;
            }
        }

        int colon = text.LastIndexOf(':');
        return colon > 0
            && IPAddress.TryParse(text[..colon], out IPAddress? address)
            && ushort.TryParse(text[(colon + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out ushort port)
            && port != 0
            ? new MigrationAddress(new IPEndPoint(address, port))
            : null;
    }

    /// <summary>Connects to a destination that listens.</summary>
    /// <param name="stop">Ends the attempt.</param>
    /// <exception cref="MigrationException">None does.</exception>
    public Socket Connect(CancellationToken stop)
    {
        Socket socket = NewSocket();
        try
        {
            socket.ConnectAsync(_endPoint, stop).AsTask().GetAwaiter().GetResult();
            return socket;
        }
        catch (Exception failure) when (failure is SocketException or OperationCanceledException)
        {
            socket.Dispose();
            throw new MigrationException($"nobody can be reached at {this}: {failure.Message}", failure);
        }
    }

    /// <summary>Waits for one source, and listens no longer.</summary>
    /// <param name="stop">Ends the wait.</param>
    /// <exception cref="MigrationException">One cannot listen there.</exception>
    public async Task<Socket> AcceptAsync(CancellationToken stop)
    {
        using Socket listener = NewSocket();
        bool isBound = false;
        try
        {
            listener.Bind(_endPoint);
            isBound = true;
            RestrictToOwner();
            listener.Listen(1);
            return await listener.AcceptAsync(stop);
        }
        catch (Exception failure) when (failure is SocketException or IOException or UnauthorizedAccessException)
        {
            throw new MigrationException($"one cannot listen at {this}: {failure.Message}", failure);
        }
        finally
        {
            if (isBound && !IsNetwork)
            {
                File.Delete(_endPoint.ToString()!);
            }
        }
    }

    /// <inheritdoc/>
    public override string ToString() => _endPoint.ToString()!;

    private Socket NewSocket() => IsNetwork
        ? new Socket(_endPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true }
        : new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);

    // Before it listens: nobody can connect yet.
    private void RestrictToOwner()
    {
        if (!IsNetwork && !OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(_endPoint.ToString()!, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }
    }
}
