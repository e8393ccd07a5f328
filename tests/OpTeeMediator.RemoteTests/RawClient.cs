using System.Buffers.Binary;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.RemoteTests;

/// <summary>A client that sends what it likes, byte by byte after docs/remote-protocol.md.</summary>
internal sealed class RawClient : IDisposable
{
    private const int HeaderSize = 16;

    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly FrameChannel _channel;

    public RawClient(string path)
        : this(path, TimeSpan.FromMinutes(1))
    {
    }

    public RawClient(string path, TimeSpan receiveTimeout)
    {
        _socket.Connect(new UnixDomainSocketEndPoint(path));
        _socket.ReceiveTimeout = (int)receiveTimeout.TotalMilliseconds;
        _channel = new FrameChannel(_socket, takesDescriptors: false, TimeSpan.FromMinutes(1));
    }

    /// <summary>The VM's number, once greeted.</summary>
    public uint Partition { get; private set; }

    /// <summary>How often the server has answered.</summary>
    public int Answers { get; private set; }

    public static byte[] Frame(ushort type, uint partition, uint operation, params ReadOnlySpan<byte> body)
    {
        byte[] frame = new byte[HeaderSize + body.Length];
        BinaryPrimitives.WriteInt32LittleEndian(frame, frame.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(frame.AsSpan(4), type);
        BinaryPrimitives.WriteUInt32LittleEndian(frame.AsSpan(8), partition);
        BinaryPrimitives.WriteUInt32LittleEndian(frame.AsSpan(12), operation);
        body.CopyTo(frame.AsSpan(HeaderSize));
        return frame;
    }

    public static byte[] Words(params uint[] words) => [.. words.SelectMany(BitConverter.GetBytes)];

    public static byte[] Hello(uint version, uint calls, string name) =>
        Frame(1, 0, 0, [
            .. Words(0x5254_504f, version, calls),
            .. new byte[16],
            .. Words((uint)Encoding.UTF8.GetByteCount(name), uint.MaxValue),
            .. Encoding.UTF8.GetBytes(name),
        ]);

    /// <summary>Greets the server and takes its WELCOME.</summary>
    public void Greet() => Assert.That(TryGreet(), Is.True);

    /// <summary>Greets the server and takes its WELCOME.</summary>
    public bool TryGreet()
    {
        _ = Send(Hello(1, 2, "raw"));
        if (Receive() is not (64, { } body))
        {
            return false;
        }

        Partition = BinaryPrimitives.ReadUInt32LittleEndian(body.AsSpan(8));
        return true;
    }

    /// <summary>Sends bytes.</summary>
    /// <returns><see langword="false"/> if the server has closed the connection.</returns>
    public bool Send(ReadOnlySpan<byte> bytes)
    {
        try
        {
            while (!bytes.IsEmpty)
            {
                bytes = bytes[_socket.Send(bytes)..];
            }

            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    /// <summary>Sends a frame with a descriptor.</summary>
    /// <returns><see langword="false"/> if the server has closed the connection.</returns>
    public bool SendFile(byte[] frame, SafeHandle file) => _channel.TrySend(frame, file);

    /// <summary>Receives a frame.</summary>
    /// <returns>Its type and its body; <see langword="null"/> if the server has closed the connection.</returns>
    public (ushort Type, byte[] Body)? Receive()
    {
        byte[] header = new byte[HeaderSize];
        if (!TryReceive(header))
        {
            return null;
        }

        byte[] body = new byte[BinaryPrimitives.ReadInt32LittleEndian(header) - HeaderSize];
        return TryReceive(body) ? (BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(4)), body) : null;
    }

    /// <summary>Takes what the server has sent so far, or sends within a moment.</summary>
    /// <returns><see langword="false"/> if it has closed the connection.</returns>
    public bool Drain()
    {
        _ = _socket.Poll(TimeSpan.FromMicroseconds(200), SelectMode.SelectRead);
        Span<byte> bytes = stackalloc byte[4096];
        try
        {
            while (_socket.Poll(0, SelectMode.SelectRead))
            {
                int count = _socket.Receive(bytes);
                if (count == 0)
                {
                    return false;
                }

                Answers++;
            }

            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    /// <summary>Waits until the server has closed the connection, whatever it sends before.</summary>
    public bool IsClosedByServer()
    {
        byte[] bytes = new byte[4096];
        try
        {
            while (_socket.Receive(bytes) != 0)
            {
            }

            return true;
        }
        catch (SocketException exception)
        {
            return exception.SocketErrorCode == SocketError.ConnectionReset;
        }
    }

    public void Dispose() => _channel.Dispose();

    private bool TryReceive(Span<byte> bytes)
    {
        try
        {
            while (!bytes.IsEmpty)
            {
                int count = _socket.Receive(bytes);
                if (count == 0)
                {
                    return false;
                }

                bytes = bytes[count..];
            }

            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
