using System.Buffers.Binary;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using KvmVmm.Saving;
using OpTeeMediator.Kvm.State;

namespace KvmVmm.Migration;

/// <summary>The connection by which a VM moves: a stream in each direction, bound to this connection.</summary>
/// <remarks>
/// <code>
/// each side: "OTVMMOVE"    version, 2 bytes    zero, 6 bytes    32 random bytes
/// then each side's stream in the format of a saved VM, whose challenge is the reader's random bytes and the writer's
/// </code>
/// <para>So with a key each side knows that the other one has it too, that it speaks now, and to whom; without one, the
/// streams are only checked for damage. The destination's stream consists of answers: section ANSW, whose first byte is
/// 0, before the microseconds that its TEE took (8 bytes), or 1, before the reason why it refuses.</para>
/// </remarks>
internal sealed class MigrationConnection : IDisposable
{
    /// <summary>How long the other side may do nothing.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private const string AnswerSection = "ANSW";
    private const ushort Version = 2;
    private const int VersionOffset = 8;
    private const int ChallengeOffset = 16;
    private const int ChallengeSize = 32;
    private const int HelloSize = ChallengeOffset + ChallengeSize;
    private const int LongestReason = 1024;
    private const byte Yes = 0;
    private const byte No = 1;

    // For a side that has nothing more to say, or has said already what it has.
    private static readonly TimeSpan Farewell = TimeSpan.FromSeconds(5);

    private readonly ConnectionStream _stream;
    private readonly VmStateOptions _writing;
    private readonly VmStateOptions _reading;
    private VmStateWriter? _writer;
    private VmStateReader? _reader;

    private MigrationConnection(ConnectionStream stream, VmStateOptions options, byte[] own, byte[] other)
    {
        _stream = stream;
        _writing = options with { Challenge = (byte[])[.. other, .. own] };
        _reading = options with { Challenge = (byte[])[.. own, .. other] };
    }

    private static ReadOnlySpan<byte> Magic => "OTVMMOVE"u8;

    /// <summary>What is written to the other side.</summary>
    public VmStateWriter Writer => _writer ??= new VmStateWriter(_stream, _writing);

    /// <summary>What the other side has written.</summary>
    /// <exception cref="InvalidDataException">It is another VM's, or is encrypted and this side has no key, or the
    /// reverse.</exception>
    public VmStateReader Reader => _reader ??= new VmStateReader(_stream, _reading);

    /// <summary>How many bytes were written.</summary>
    public long Written => _stream.Written;

    /// <summary>Greets the other side.</summary>
    /// <param name="socket">The connection, which it owns.</param>
    /// <param name="options">Whose state moves, and its key.</param>
    /// <param name="stop">Ends the attempt.</param>
    /// <exception cref="MigrationException">The other side is no VMM that moves a VM.</exception>
    public static MigrationConnection Open(Socket socket, VmStateOptions options, CancellationToken stop)
    {
        ConnectionStream stream = new(socket, Patience);

        // The other side may send one byte after the other, each just in time.
        using Timer limit = new(_ => stream.Dispose(), null, Patience, Timeout.InfiniteTimeSpan);
        using CancellationTokenRegistration stopping = stop.Register(stream.Dispose);
        try
        {
            byte[] own = new byte[HelloSize];
            Magic.CopyTo(own);
            BinaryPrimitives.WriteUInt16LittleEndian(own.AsSpan(VersionOffset), Version);
            RandomNumberGenerator.Fill(own.AsSpan(ChallengeOffset));
            stream.Write(own);
            byte[] other = new byte[HelloSize];
            stream.ReadExactly(other);
            if (!other.AsSpan(0, ChallengeOffset).SequenceEqual(own.AsSpan(0, ChallengeOffset)))
            {
                throw new MigrationException(
                    $"the other side is no VMM that moves a VM by version {Version} of the protocol.");
            }

            // Its own words would come back to it.
            return own.AsSpan().SequenceEqual(other)
                ? throw new MigrationException("the other side repeats what it is told.")
                : new MigrationConnection(stream, options, own[ChallengeOffset..], other[ChallengeOffset..]);
        }
        catch (IOException failure)
        {
            stream.Dispose();
            throw new MigrationException(failure.Message, failure);
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }

    /// <summary>The destination: agrees.</summary>
    /// <param name="teeTime">The time that the restoration of its TEE took.</param>
    public void Agree(TimeSpan teeTime)
    {
        byte[] answer = new byte[1 + sizeof(long)];
        answer[0] = Yes;
        BinaryPrimitives.WriteInt64LittleEndian(answer.AsSpan(1), (long)teeTime.TotalMicroseconds);
        Write(answer);
    }

    /// <summary>The destination: says why it refuses, as well as it can, and ends the connection.</summary>
    /// <param name="reason">The reason.</param>
    public void Refuse(string reason)
    {
        try
        {
            byte[] text = Encoding.UTF8.GetBytes(reason);
            Write([No, .. text.AsSpan(0, int.Min(text.Length, LongestReason))]);
            _stream.End(Farewell);
        }
        catch (Exception failure) when (failure is IOException or InvalidOperationException)
        {
            // The source finds the end of the connection.
        }
    }

    /// <summary>The source: waits for the destination's answer.</summary>
    /// <returns>The time that the restoration of its TEE took.</returns>
    /// <exception cref="MigrationException">It refuses, or has not answered.</exception>
    public TimeSpan ReadAnswer()
    {
        _stream.EndsWhenAnswered = false;
        byte[] answer = new byte[1 + LongestReason];
        int length;
        try
        {
            length = Reader.OpenSection(AnswerSection).ReadAtLeast(answer, answer.Length, throwOnEndOfStream: false);
        }
        catch (Exception failure) when (failure is IOException or InvalidDataException)
        {
            throw new MigrationException($"the destination gives no answer: {failure.Message}", failure);
        }

        if (length == 1 + sizeof(long) && answer[0] == Yes)
        {
            _stream.EndsWhenAnswered = true;
            return TimeSpan.FromMicroseconds(
                long.Clamp(BinaryPrimitives.ReadInt64LittleEndian(answer.AsSpan(1)), 0, uint.MaxValue));
        }

        throw length > 0 && answer[0] == No
            ? new MigrationException($"the destination refuses: {PrintableText.Read(answer.AsSpan(1, length - 1))}")
            : new MigrationException("the destination's answer makes no sense.");
    }

    /// <summary>The source: why writing has failed, if the destination has said it. The connection is of no use
    /// afterwards.</summary>
    /// <param name="failure">What has failed.</param>
    public MigrationException Explain(Exception failure)
    {
        // The guest may be halted meanwhile, and the destination may say nothing, or one byte after the other.
        using Timer limit = new(_ => _stream.Dispose(), null, Farewell, Timeout.InfiniteTimeSpan);
        try
        {
            _ = ReadAnswer();
        }
        catch (MigrationException answer) when (answer.InnerException is null)
        {
            return answer;
        }
        catch (MigrationException)
        {
            // It has said nothing.
        }

        return new MigrationException(failure.Message, failure);
    }

    /// <summary>The destination, when it has agreed for the last time: waits as long as the connection lasts.</summary>
    public void WaitForever() => _stream.WaitForever();

    /// <inheritdoc/>
    public void Dispose()
    {
        _stream.Dispose();
        _writer?.Dispose();
        _reader?.Dispose();
    }

    /// <summary>Ends what waits for the other side, on another thread.</summary>
    public void Abort() => _stream.Dispose();

    private void Write(ReadOnlySpan<byte> answer)
    {
        using (Stream section = Writer.BeginSection(AnswerSection))
        {
            section.Write(answer);
        }

        Writer.Flush();
    }
}
