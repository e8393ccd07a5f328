using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Client;

/// <summary>A connection to a server, from WELCOME to its end; then the partition makes another one.</summary>
/// <remarks>Thread-safe.</remarks>
internal sealed class ServerConnection
{
    private readonly FrameChannel _channel;
    private readonly ClientFiles _files;
    private readonly ClientOperation[] _operations;
    private readonly Stack<ClientOperation> _free;
    private readonly Stack<uint> _freeBuffers = [];
    private readonly object _monitor = new();
    private readonly string _virtualMachine;
    private readonly ILogger _log;
    private readonly bool _knowsOutcome;
    private uint _nextBuffer;
    private int _pieces;
    private volatile bool _isLost;
    private volatile bool _isClosing;
    private int _isAbandoned;

    /// <summary>Begins to receive.</summary>
    /// <param name="channel">The connection, which this object disposes of.</param>
    /// <param name="welcome">What the server permits.</param>
    /// <param name="virtualMachine">The VM's name.</param>
    /// <param name="log">The log.</param>
    public ServerConnection(FrameChannel channel, Welcome welcome, string virtualMachine, ILogger log)
    {
        _channel = channel;
        _virtualMachine = virtualMachine;
        _log = log;
        Limits = welcome.Limits;
        CanSave = welcome.CanSave;
        _knowsOutcome = welcome.KnowsOutcome;
        _files = new ClientFiles(channel);
        _operations =
            [.. Enumerable.Range(0, Math.Min(Limits.Operations, ushort.MaxValue))
                .Select(index => new ClientOperation(channel, index))];
        _free = new Stack<ClientOperation>(_operations);
        new Thread(Receive) { IsBackground = true, Name = $"tee {virtualMachine}/receive" }.Start();
    }

    public ProtocolLimits Limits { get; }

    /// <summary>Whether the server's sessions can be saved and restored.</summary>
    public bool CanSave { get; }

    /// <summary>Whether the server is gone.</summary>
    public bool IsLost => _isLost;

    /// <summary>Tells the server whether the VM that it has restored runs, if the server knows the message.</summary>
    /// <remarks>There is no answer: what is sent before the connection ends, the server reads before the end.</remarks>
    public void TellOutcome(FrameType outcome)
    {
        if (_knowsOutcome && !_isLost)
        {
            FrameBuilder frame = new();
            frame.Begin(outcome, _channel.Partition, 0);
            _ = _channel.TrySend(frame.Frame);
        }
    }

    /// <summary>Takes an operation and begins its frame; blocks while all are in use.</summary>
    public ClientOperation Begin(FrameType type, TeeRequest? request)
    {
        ClientOperation? operation;
        lock (_monitor)
        {
            while (!_free.TryPop(out operation))
            {
                _ = Monitor.Wait(_monitor);
            }
        }

        operation.Begin(type, request);
        return operation;
    }

    /// <summary>Gives an operation back.</summary>
    public void End(ClientOperation operation)
    {
        operation.End();
        lock (_monitor)
        {
            _free.Push(operation);
            Monitor.Pulse(_monitor);
        }
    }

    /// <summary>Takes a number for a buffer.</summary>
    public bool TryTakeBufferNumber(out uint number)
    {
        lock (_monitor)
        {
            if (_freeBuffers.TryPop(out number))
            {
                return true;
            }

            number = _nextBuffer;
            if (number == (uint)Limits.Buffers)
            {
                return false;
            }

            _nextBuffer++;
            return true;
        }
    }

    /// <summary>Gives the number of a buffer back that the server does not know any more.</summary>
    public void FreeBufferNumber(uint number)
    {
        lock (_monitor)
        {
            _freeBuffers.Push(number);
        }
    }

    /// <summary>Takes pieces for a buffer that is to be registered, as far as the server permits.</summary>
    public bool TryTakePieces(int count)
    {
        lock (_monitor)
        {
            bool isPermitted = count <= Limits.Ranges - _pieces;
            _pieces += isPermitted ? count : 0;
            return isPermitted;
        }
    }

    /// <summary>Gives the pieces of a buffer back that the server does not know any more.</summary>
    public void FreePieces(int count)
    {
        lock (_monitor)
        {
            _pieces -= count;
        }
    }

    /// <summary>Asks the server to end an operation early.</summary>
    /// <returns>The operation; <see langword="null"/> if the server does not have it.</returns>
    public ClientOperation? Cancel(TeeRequest request)
    {
        foreach (ClientOperation operation in _operations)
        {
            if (operation.Request == request)
            {
                operation.Cancel(request);
                return operation;
            }
        }

        return null;
    }

    /// <summary>Describes a buffer in a frame.</summary>
    /// <param name="frame">The frame.</param>
    /// <param name="memory">The buffer.</param>
    /// <param name="maximumPieces">Of how many pieces it may consist.</param>
    /// <param name="pieces">Of how many it consists.</param>
    /// <returns>
    /// <see langword="false"/>, with the frame of no use, if it consists of more pieces than the server takes.
    /// </returns>
    /// <exception cref="InvalidOperationException">The VM's memory cannot be shared with another process.</exception>
    public bool TryDescribe(FrameBuilder frame, TeeSharedMemory memory, int maximumPieces, out int pieces)
    {
        pieces = 0;
        ulong size = memory.Size;
        frame.Write(size);
        int countPosition = frame.Reserve();
        for (ulong offset = 0; offset < size; pieces++)
        {
            if (!memory.TryGetFile(offset, out SafeHandle file, out long fileOffset, out ulong length))
            {
                throw new InvalidOperationException(
                    $"Memory of VM {_virtualMachine} has no file behind it, so that a TEE in another process cannot "
                    + "reach it: use MemfdGuestMemory, or name the memfd of each region of MappedGuestMemory.");
            }

            if (pieces == maximumPieces || frame.Length + FrameFormat.RangeSize > Limits.Frame)
            {
                return false;
            }

            length = Math.Min(length, size - offset);
            frame.Write(_files.NumberOf(file, (ulong)fileOffset + length));
            frame.Write(0u);
            frame.Write((ulong)fileOffset);
            frame.Write(length);
            offset += length;
        }

        frame.Overwrite(countPosition, (uint)pieces);
        return frame.Length <= Limits.Frame;
    }

    /// <summary>Begins to end a connection whose server does not end an operation.</summary>
    /// <returns>Whether this is the first time, and the server is not gone.</returns>
    public bool TryAbandon() => !_isLost && Interlocked.Exchange(ref _isAbandoned, 1) == 0;

    /// <summary>The connection ends now because this side wants it: no log entry.</summary>
    public void ExpectEnd() => _isClosing = true;

    /// <summary>Ends the connection.</summary>
    public void Close() => _channel.Close();

    private void Receive()
    {
        try
        {
            while (_channel.TryReceive(out FrameHeader header, out ReadOnlySpan<byte> body))
            {
                if (header.Type == FrameType.Refused)
                {
                    _log.ConnectionRefused(_virtualMachine, Encoding.UTF8.GetString(body));
                    break;
                }

                uint index = header.Operation & ushort.MaxValue;
                if (index >= (uint)_operations.Length)
                {
                    throw new ProtocolException($"a message for operation {index} of {_operations.Length}");
                }

                _operations[index].Receive(header, body);
            }
        }
        catch (ProtocolException violation)
        {
            _log.ServerMalformed(_virtualMachine, violation.Message);
        }
        catch (Exception exception)
        {
            _log.ReceiverFailed(_virtualMachine, exception);
        }

        _isLost = true;
        if (!_isClosing)
        {
            _log.ServerLost(_virtualMachine);
        }

        _channel.Dispose();
        foreach (ClientOperation operation in _operations)
        {
            operation.Lose();
        }
    }
}
