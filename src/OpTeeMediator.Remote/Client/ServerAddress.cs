using System.Net.Sockets;
using System.Text;
using OpTeeMediator.Backends;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Client;

/// <summary>Where a server is, and how it is greeted.</summary>
/// <param name="Path">The path of its Unix socket.</param>
/// <param name="HandshakeTimeout">How long its answer may take.</param>
/// <param name="SendTimeout">How long it may leave frames unread.</param>
/// <param name="TerminationDeadline">How long an operation may run on when its VM is reset or destroyed.</param>
/// <param name="StateDeadline">How long saving or restoring the VM's sessions may take.</param>
/// <param name="MaximumState">How long their state may be, in bytes.</param>
internal sealed record ServerAddress(
    string Path,
    TimeSpan HandshakeTimeout,
    TimeSpan SendTimeout,
    TimeSpan TerminationDeadline,
    TimeSpan StateDeadline,
    int MaximumState)
{
    /// <summary>Connects and greets the server.</summary>
    /// <returns>The connection, whose owner is the caller, and what the server permits.</returns>
    /// <exception cref="TeeUnavailableException">There is no such server, or it refuses the VM.</exception>
    public (FrameChannel Channel, Welcome Welcome) Connect(Hello hello)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        FrameChannel? channel = null;
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(Path));
            channel = new FrameChannel(socket, takesDescriptors: false, SendTimeout)
            {
                ReceiveTimeout = HandshakeTimeout,
            };
            Welcome welcome = Greet(channel, hello);
            channel.Partition = welcome.Partition;
            channel.MaximumFrame = welcome.Limits.Frame;
            channel.ReceiveTimeout = Timeout.InfiniteTimeSpan;
            return (channel, welcome);
        }
        catch (SocketException exception)
        {
            Free();
            throw new TeeUnavailableException(
                $"There is no TEE server at {Path} ({exception.Message}). Start it, or name its socket.", exception);
        }
        catch (ProtocolException violation)
        {
            Free();
            throw new TeeUnavailableException(
                $"What listens at {Path} is no TEE server of this version: it has sent {violation.Message}.",
                violation);
        }
        catch
        {
            Free();
            throw;
        }

        void Free()
        {
            channel?.Dispose();
            socket.Dispose();
        }
    }

    private Welcome Greet(FrameChannel channel, Hello hello)
    {
        FrameBuilder frame = new();
        hello.Write(frame);
        if (!channel.TrySend(frame.Frame)
            || !channel.TryReceive(out FrameHeader header, out ReadOnlySpan<byte> body))
        {
            throw new TeeUnavailableException(
                $"The TEE server at {Path} has closed the connection, or has not answered within {HandshakeTimeout}. "
                + "Its log says why; it serves only its own user unless its options allow others.");
        }

        return header.Type switch
        {
            FrameType.Welcome => Welcome.Read(new FrameReader(body)),
            FrameType.Refused => throw new TeeUnavailableException(
                $"The TEE server at {Path} refuses the VM: {Encoding.UTF8.GetString(body)}"),
            _ => throw new ProtocolException($"a message of type {(ushort)header.Type} for a WELCOME"),
        };
    }
}
