using System.Net.Sockets;

namespace KvmVmm.Migration;

/// <summary>A connection as a stream, which counts what is written and ends if nothing moves for too long.</summary>
/// <remarks>One thread reads and one writes; <see cref="Stream.Dispose()"/> by another ends both.</remarks>
internal sealed class ConnectionStream : Stream
{
    private readonly Socket _socket;
    private long _written;

    /// <summary>Uses a connection.</summary>
    /// <param name="socket">The connection, which it owns.</param>
    /// <param name="patience">How long the other side may do nothing.</param>
    public ConnectionStream(Socket socket, TimeSpan patience)
    {
        _socket = socket;
        _socket.SendTimeout = (int)patience.TotalMilliseconds;
        _socket.ReceiveTimeout = (int)patience.TotalMilliseconds;
    }

    /// <summary>How many bytes were written.</summary>
    public long Written => _written;

    /// <summary>Whether writing fails as soon as the other side says something: it does not want the rest.</summary>
    public bool EndsWhenAnswered { get; set; }

    /// <inheritdoc/>
    public override bool CanRead => true;

    /// <inheritdoc/>
    public override bool CanWrite => true;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override long Length => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <summary>Waits for the other side as long as it takes from now on.</summary>
    public void WaitForever() => _socket.ReceiveTimeout = 0;

    /// <summary>Writes nothing more, and drops what the other side sends until it ends or does nothing for some time:
    /// otherwise it may lose what was written last.</summary>
    /// <param name="patience">How long at most.</param>
    public void End(TimeSpan patience)
    {
        try
        {
            _socket.Shutdown(SocketShutdown.Send);
            _socket.ReceiveTimeout = (int)patience.TotalMilliseconds;
            byte[] dropped = new byte[64 << 10];
            long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
            while (_socket.Receive(dropped) > 0 && Environment.TickCount64 < end)
            {
            }
        }
        catch (Exception failure) when (failure is SocketException or ObjectDisposedException)
        {
            // It has ended.
        }
    }

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    public override int Read(Span<byte> buffer)
    {
        try
        {
            return buffer.IsEmpty ? 0 : _socket.Receive(buffer);
        }
        catch (Exception failure) when (failure is SocketException or ObjectDisposedException)
        {
            throw new IOException($"the connection has ended: {failure.Message}", failure);
        }
    }

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        try
        {
            if (EndsWhenAnswered && _socket.Available > 0)
            {
                throw new IOException("the destination does not want the rest");
            }

            while (!buffer.IsEmpty)
            {
                int sent = _socket.Send(buffer);
                _written += sent;
                buffer = buffer[sent..];
            }
        }
        catch (Exception failure) when (failure is SocketException or ObjectDisposedException)
        {
            throw new IOException($"the connection has ended: {failure.Message}", failure);
        }
    }

    /// <inheritdoc/>
    public override void Flush()
    {
    }

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _socket.Dispose();
        }

        base.Dispose(disposing);
    }
}
