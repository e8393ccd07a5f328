using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace OpTeeMediator.RemoteTests;

/// <summary>Sends frames to a server: mostly what a VMM sends, some mutated, some random.</summary>
/// <param name="random">Decides.</param>
/// <param name="client">The connection.</param>
/// <param name="file">A memory file, whose use is permitted.</param>
/// <param name="length">Its length in bytes.</param>
internal sealed class FrameSource(Random random, RawClient client, SafeHandle file, ulong length)
{
    private const ushort OpenSession = 2;
    private const ushort Invoke = 3;
    private const ushort Close = 4;
    private const ushort Register = 5;
    private const ushort Unregister = 6;
    private const ushort AddFile = 7;
    private const ushort Cancel = 8;
    private const ushort Answer = 9;
    private const ushort Reset = 10;
    private const ushort Destroy = 11;
    private const ushort Result = 66;
    private const uint Temporary = uint.MaxValue - 1;
    private const uint None = uint.MaxValue;

    // The server permits the two calls of its HELLO, and two more.
    private readonly ushort[] _counts = new ushort[4];
    private readonly List<uint> _sessions = [];
    private readonly List<uint> _buffers = [];
    private uint _operation;
    private bool _hasFile;

    /// <summary>How many frames were sent.</summary>
    public int Count { get; private set; }

    /// <summary>How many operations have ended with a result.</summary>
    public int Results { get; private set; }

    /// <summary>Sends a frame, and what belongs to it.</summary>
    /// <returns><see langword="false"/> if the connection is closed.</returns>
    public bool Send()
    {
        if (!_hasFile)
        {
            _hasFile = true;
            return SendFile();
        }

        return random.Next(200) switch
        {
            0 => Send(Bytes(random.Next(1, 64))) && Break(),
            1 => Send(Frame((ushort)random.Next(80), Bytes(random.Next(200)))) && Break(),
            2 => Send(Mutate(Valid())) && Break(),
            3 => Send(RawClient.Frame(Answer, client.Partition, _operation, RawClient.Words(0, 0))) && Break(),
            4 => SendFile(),
            5 => Send(CancelFrame()),
            _ => Send(Valid()) && (random.Next(10) != 0 || Send(CancelFrame())) && Complete(),
        };
    }

    /// <summary>Ends the connection, in most cases, after a frame that is hardly permitted.</summary>
    private bool Break()
    {
        if (random.Next(4) == 0)
        {
            return client.Drain();
        }

        _ = Send(new byte[random.Next(1, 300)]);
        return false;
    }

    private bool SendFile()
    {
        Count++;
        return client.SendFile(RawClient.Frame(AddFile, client.Partition, 0), file);
    }

    private bool Send(byte[] frame)
    {
        Count++;
        return client.Send(frame);
    }

    /// <summary>Takes what the server sends for the operation, and answers it, until it has ended.</summary>
    private bool Complete()
    {
        while (client.Receive() is { } received)
        {
            if (received.Type == Result)
            {
                Results++;
                TakeResult(received.Body);
                return true;
            }

            if (random.Next(20) == 0 && !Send(CancelFrame()))
            {
                return false;
            }

            byte[] answer = RawClient.Frame(
                Answer, client.Partition, _operation, [.. RawClient.Words(Small(), 0), .. new byte[24]]);
            if (!Send(random.Next(50) == 0 ? Mutate(answer) : answer))
            {
                return false;
            }
        }

        return false;
    }

    private void TakeResult(byte[] body)
    {
        if (body.Length >= 12 && BinaryPrimitives.ReadUInt32LittleEndian(body.AsSpan(8)) is not 0 and uint session)
        {
            _sessions.Add(session);
        }
    }

    private byte[] Valid()
    {
        switch (random.Next(30))
        {
            case 0:
                return Frame(Reset, []);

            case 1 when random.Next(20) == 0:
                return Frame(Destroy, []);

            case <= 3 when _sessions.Count > 0:
                return Frame(Close, RawClient.Words(0, Take(_sessions)));

            case <= 5 when _buffers.Count > 0:
                return Frame(Unregister, RawClient.Words(Take(_buffers)));

            case <= 9:
                uint buffer = (uint)random.Next(16);
                if (_buffers.Contains(buffer))
                {
                    goto default;
                }

                _buffers.Add(buffer);
                return Frame(Register, [.. RawClient.Words(buffer), .. Memory()]);

            case <= 13:
                return Frame(OpenSession, [.. RawClient.Words(0, Small()), .. Bytes(32), .. Parameters()]);

            default:
                return _sessions.Count > 0
                    ? Frame(Invoke, [.. RawClient.Words(0, Any(_sessions), Small()), .. Parameters()])
                    : Frame(OpenSession, [.. RawClient.Words(0, Small()), .. Bytes(32), .. Parameters()]);
        }
    }

    private byte[] Parameters()
    {
        List<byte> parameters = [];
        List<byte> memory = [];
        for (int index = 0; index < 4; index++)
        {
            uint kind = (uint)random.Next(8);
            kind = kind == 4 ? 0 : kind;
            uint reference = None;
            if (kind >= 5 && random.Next(4) != 0)
            {
                reference = _buffers.Count > 0 && random.Next(2) == 0 ? Any(_buffers) : Temporary;
            }

            if (reference == Temporary)
            {
                memory.AddRange(Memory());
            }

            parameters.AddRange(RawClient.Words(kind, reference));
            parameters.AddRange(RawClient.Words((uint)random.Next(4), 0, (uint)random.Next(16), 0, 0, 0));
        }

        return [.. parameters, .. memory];
    }

    private byte[] Memory()
    {
        int count = random.Next(1, 4);
        List<byte> pieces = [];
        ulong size = 0;
        for (int index = 0; index < count; index++)
        {
            ulong piece = (ulong)random.Next(20, 5000);
            pieces.AddRange(RawClient.Words(0, 0));
            pieces.AddRange(BitConverter.GetBytes((ulong)random.NextInt64((long)(length - piece) + 1)));
            pieces.AddRange(BitConverter.GetBytes(piece));
            size += piece;
        }

        return [.. BitConverter.GetBytes(size), .. RawClient.Words((uint)count), .. pieces];
    }

    private byte[] Mutate(byte[] frame)
    {
        for (int changes = random.Next(1, 4); changes > 0; changes--)
        {
            frame[random.Next(frame.Length)] = (byte)random.Next(256);
        }

        return frame;
    }

    private byte[] CancelFrame() => RawClient.Frame(Cancel, client.Partition, _operation, RawClient.Words(Small()));

    private byte[] Frame(ushort type, byte[] body)
    {
        int index = random.Next(_counts.Length);
        _operation = (uint)index | (uint)++_counts[index] << 16;
        return RawClient.Frame(type, client.Partition, _operation, body);
    }

    private uint Any(List<uint> list) => list[random.Next(list.Count)];

    private uint Take(List<uint> list)
    {
        uint taken = Any(list);
        _ = list.Remove(taken);
        return taken;
    }

    private uint Small() => (uint)random.Next(4);

    private byte[] Bytes(int count)
    {
        byte[] bytes = new byte[count];
        random.NextBytes(bytes);
        return bytes;
    }
}
