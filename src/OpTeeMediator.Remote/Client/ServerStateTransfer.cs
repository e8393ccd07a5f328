using System.Diagnostics;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Remote.Framing;
using OpTeeMediator.State;

namespace OpTeeMediator.Remote.Client;

/// <summary>One request about the state of a VM's sessions at a server, within a deadline.</summary>
/// <remarks>Blocks. A server that breaks the protocol or exceeds the deadline loses the connection.</remarks>
internal sealed class ServerStateTransfer(
    ServerAddress address, ServerConnection connection, string virtualMachine, ILogger log)
{
    private const int NoFlags = -1;

    private readonly long _begin = Stopwatch.GetTimestamp();

    /// <summary>Asks whether a session can be saved.</summary>
    /// <exception cref="OpTeeStateException">The server does not say.</exception>
    public bool CanSave(uint session) => Perform(
        FrameType.CanSave,
        frame => frame.Write(session),
        static (operation, type) => type == FrameType.Result
            ? operation.Body.ReadUInt32() == 0
            : throw Unexpected(type));

    /// <summary>Has sessions saved.</summary>
    /// <returns>What the server has sent.</returns>
    /// <exception cref="OpTeeStateException">They cannot be saved; the message says why.</exception>
    public byte[] Save(IReadOnlyCollection<uint> sessions)
    {
        using MemoryStream state = new();
        return Perform(
            FrameType.Save,
            frame => StateCodec.WriteSessions(frame, sessions),
            (operation, type) =>
            {
                switch (type)
                {
                    case FrameType.Result:
                        return state.ToArray();

                    case FrameType.State:
                        FrameReader body = operation.Body;
                        Append(state, body.Take(body.Remaining));
                        BeginAnswer(operation);
                        return null;

                    default:
                        throw Unexpected(type);
                }
            });
    }

    /// <summary>Has sessions restored.</summary>
    /// <param name="state">What <see cref="Save"/> has returned.</param>
    /// <param name="count">How many sessions there were.</param>
    /// <returns>Their numbers; 0 for one that is dead.</returns>
    /// <exception cref="OpTeeStateException">They cannot be restored; the message says why.</exception>
    public uint[] Restore(ReadOnlyMemory<byte> state, int count)
    {
        ReadOnlyMemory<byte> rest = state;
        return Perform(
            FrameType.Restore,
            frame =>
            {
                frame.Write((uint)count);
                frame.Write((uint)state.Length);
            },
            (operation, type) =>
            {
                switch (type)
                {
                    case FrameType.Restored:
                        uint[] sessions = StateCodec.ReadSessions(operation.Body, count);
                        return sessions.Length == count
                            ? sessions
                            : throw new ProtocolException($"{sessions.Length} sessions for {count}");

                    case FrameType.NextState when !rest.IsEmpty:
                        int piece = Math.Min(rest.Length, FrameFormat.StatePiece);
                        BeginAnswer(operation);
                        operation.Frame.Write(rest.Span[..piece]);
                        rest = rest[piece..];
                        return null;

                    default:
                        throw Unexpected(type);
                }
            });
    }

    // `take` gets what the server sends, and returns null when it has begun an answer.
    private T Perform<T>(
        FrameType request, Action<FrameBuilder> write, Func<ClientOperation, FrameType, T?> take)
        where T : notnull
    {
        ClientOperation operation = connection.Begin(request, null);
        try
        {
            write(operation.Frame);
            for (bool isSent = operation.TryStart(NoFlags); isSent; isSent = operation.TryAnswer())
            {
                FrameType type = Wait(operation);
                if (type == FrameType.None)
                {
                    break;
                }

                if (type == FrameType.StateRefused)
                {
                    throw new OpTeeStateException(
                        $"The TEE server at {address.Path} says: {StateCodec.ReadText(operation.Body)}");
                }

                if (take(operation, type) is { } result)
                {
                    return result;
                }
            }

            throw new OpTeeStateException(
                $"The TEE server at {address.Path} has ended meanwhile; the sessions at it are dead.");
        }
        catch (ProtocolException violation)
        {
            log.ServerMalformed(virtualMachine, violation.Message);
            connection.Close();
            throw new OpTeeStateException(
                $"What listens at {address.Path} has sent {violation.Message}: the connection is closed.", violation);
        }
        finally
        {
            connection.End(operation);
        }
    }

    private FrameType Wait(ClientOperation operation)
    {
        if (operation.TryWait(address.StateDeadline - Stopwatch.GetElapsedTime(_begin), out FrameType type))
        {
            return type;
        }

        connection.Close();
        throw new OpTeeStateException(
            $"The TEE server at {address.Path} has not answered within {address.StateDeadline.TotalSeconds} s: the "
            + "connection is closed, and the sessions at it are dead.");
    }

    private void Append(MemoryStream state, ReadOnlySpan<byte> piece)
    {
        if (piece.Length is 0 or > FrameFormat.StatePiece)
        {
            throw new ProtocolException($"a piece of {piece.Length} bytes of a state");
        }

        if (state.Length + piece.Length > address.MaximumState)
        {
            // The server still waits for an answer, and its VM would for the server.
            connection.Close();
            throw new OpTeeStateException(
                $"The TEE server at {address.Path} sends more than {address.MaximumState} bytes: raise "
                + $"{nameof(RemoteTeeOptions)}.{nameof(RemoteTeeOptions.MaximumState)} if its applications keep that "
                + "much. The connection is closed, and the sessions at it are dead.");
        }

        state.Write(piece);
    }

    private static void BeginAnswer(ClientOperation operation)
    {
        operation.BeginAnswer();
        operation.Frame.Write(0u);
        operation.Frame.Write(0u);
    }

    private static ProtocolException Unexpected(FrameType type) =>
        new($"a message of type {(ushort)type} for a state");
}
