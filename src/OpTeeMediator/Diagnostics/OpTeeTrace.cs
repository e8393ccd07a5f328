using System.Buffers;
using System.Diagnostics;
using System.Text.Json;

namespace OpTeeMediator.Diagnostics;

/// <summary>Writes what the calls of guests do, and when, as a file that Perfetto opens (trace events in JSON, one on a
/// line).</summary>
/// <remarks>
/// <para>docs/diagnostics.md describes the events. One trace may serve several VMs. Dispose of it after their
/// <c>OpTeeGuest</c>s; the file of a process that was killed can be opened too.</para>
/// <para>The vCPUs' threads write, 64 KiB at a time, so that a slow stream slows the guests. If the stream throws, the
/// trace ends, and the guests do not notice (<see cref="Failure"/>).</para>
/// <para>Thread-safe.</para>
/// </remarks>
public sealed class OpTeeTrace : IDisposable
{
    /// <summary>The most bytes that a trace has if the constructor names none: 1 GiB.</summary>
    public const long DefaultMaximumLength = 1L << 30;

    private const int BufferSize = 64 << 10;

    private const int LongestName = 100;

    // More than two records have, of which one says that the trace ends.
    private const int Reserve = 2048;

    private readonly Stream _stream;
    private readonly long _maximumLength;
    private readonly Lock _lock = new();
    private readonly ArrayBufferWriter<byte> _buffer = new(BufferSize + 1024);
    private readonly Utf8JsonWriter _json;
    private readonly HashSet<(int Vm, int Track)> _named = [];
    private readonly long _started = Stopwatch.GetTimestamp();
    private long _length;
    private int _vms;
    private long _calls;
    private volatile bool _hasEnded;

    /// <summary>Begins a trace of up to <see cref="DefaultMaximumLength"/> bytes.</summary>
    /// <param name="stream">Where it goes; disposed of with the trace.</param>
    /// <exception cref="ArgumentNullException"><paramref name="stream"/> is <see langword="null"/>.</exception>
    public OpTeeTrace(Stream stream) : this(stream, DefaultMaximumLength)
    {
    }

    /// <summary>Begins a trace.</summary>
    /// <param name="stream">Where it goes; disposed of with the trace.</param>
    /// <param name="maximumLength">The most bytes that it has, 4096 at least; then it ends.</param>
    /// <exception cref="ArgumentNullException"><paramref name="stream"/> is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="maximumLength"/> is too small.</exception>
    public OpTeeTrace(Stream stream, long maximumLength)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentOutOfRangeException.ThrowIfLessThan(maximumLength, 4096);
        _stream = stream;
        _maximumLength = maximumLength;
        _json = new Utf8JsonWriter(_buffer);
    }

    /// <summary>What the stream threw, after which nothing was written; <see langword="null"/> for nothing.</summary>
    public Exception? Failure { get; private set; }

    /// <summary>Whether anything more is written.</summary>
    internal bool IsOn => !_hasEnded;

    /// <summary>Writes the rest, ends the trace and disposes of the stream.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            if (!_hasEnded)
            {
                End("trace ends");
            }

            try
            {
                _stream.Dispose();
            }
            catch (Exception exception)
            {
                Failure ??= exception;
            }

            _json.Dispose();
        }
    }

    /// <summary>Adds a VM: a process of the trace.</summary>
    /// <returns>Its number.</returns>
    internal int AddVm(string name)
    {
        lock (_lock)
        {
            int vm = ++_vms;
            Name("process_name", vm, 0, name);
            return vm;
        }
    }

    /// <summary>A number by which a call is found in the whole trace.</summary>
    internal long NextCall() => Interlocked.Increment(ref _calls);

    /// <summary>Writes a span of time.</summary>
    internal void Write(in TraceSpan span)
    {
        lock (_lock)
        {
            if (_named.Add((span.Vm, span.Track)))
            {
                Name("thread_name", span.Vm, span.Track, span.TrackName);
            }

            if (_hasEnded)
            {
                return;
            }

            Begin("X", span.Name, span.Vm, span.Track, span.Start);
            _json.WriteNumber("dur"u8, ToMicroseconds(span.End - span.Start));
            _json.WriteStartObject("args"u8);
            if (span.Call != 0)
            {
                _json.WriteNumber("call"u8, span.Call);
            }

            if (span.Detail is { } detail)
            {
                _json.WriteString("result"u8, detail);
            }

            _json.WriteEndObject();
            Finish();
        }
    }

    /// <summary>Writes a part of the arrow that connects the SMCs of a call: s for the first, t for others, f for the
    /// last.</summary>
    internal void WriteFlow(string phase, int vm, int track, long call, long time)
    {
        lock (_lock)
        {
            if (!_hasEnded)
            {
                Begin(phase, "call", vm, track, time);
                _json.WriteNumber("id"u8, call);
                _json.WriteString("bp"u8, "e"u8);
                Finish();
            }
        }
    }

    private void Name(string kind, int vm, int track, string name)
    {
        if (!_hasEnded)
        {
            Begin("M", kind, vm, track, _started);
            _json.WriteStartObject("args"u8);
            _json.WriteString("name"u8, name.AsSpan(0, Math.Min(name.Length, LongestName)));
            _json.WriteEndObject();
            Finish();
        }
    }

    private void Begin(string phase, string name, int vm, int track, long time)
    {
        _buffer.Write(_length == 0 ? "[\n"u8 : ",\n"u8);
        _length += 2;
        _json.Reset();
        _json.WriteStartObject();
        _json.WriteString("ph"u8, phase);
        _json.WriteString("name"u8, name);
        _json.WriteString("cat"u8, "optee"u8);
        _json.WriteNumber("pid"u8, vm);
        _json.WriteNumber("tid"u8, track);
        _json.WriteNumber("ts"u8, ToMicroseconds(time - _started));
    }

    private void Finish()
    {
        _json.WriteEndObject();
        _json.Flush();
        _length += _json.BytesCommitted;
        if (_length > _maximumLength - Reserve)
        {
            End("trace is full");
        }
        else if (_buffer.WrittenCount >= BufferSize)
        {
            Flush();
        }
    }

    private void End(string reason)
    {
        if (_hasEnded)
        {
            return;
        }

        _hasEnded = true;
        Begin("i", reason, 0, 0, Stopwatch.GetTimestamp());
        _json.WriteString("s"u8, "g"u8);
        _json.WriteEndObject();
        _json.Flush();
        _buffer.Write("\n]\n"u8);
        Flush();
    }

    private void Flush()
    {
        try
        {
            _stream.Write(_buffer.WrittenSpan);
            _stream.Flush();
        }
        catch (Exception exception)
        {
            _hasEnded = true;
            Failure = exception;
        }

        _buffer.ResetWrittenCount();
    }

    private static double ToMicroseconds(long ticks) =>
        Math.Round(Stopwatch.GetElapsedTime(0, ticks).TotalMicroseconds, 3);
}
