using OpTeeMediator.Backends;
using OpTeeMediator.Remote.Framing;
using OpTeeMediator.State;

namespace OpTeeMediator.Remote.Server;

/// <summary>Saves and restores the sessions of one VM: one request at a time.</summary>
/// <remarks>
/// The state is of whose VM it says; the number of sessions (4 bytes), the application of each (16), and what the TEE
/// has saved, as a block. It comes from a client, so it is checked as anything else that a client sends.
/// </remarks>
internal sealed class HostedStateTransfer(HostedEnvironment environment, HostedGuest guest)
{
    private readonly List<HostedSession> _sessions = [];
    private readonly List<uint> _restored = [];
    private int _count;
    private int _length;
    private string? _refusal;

    /// <summary>Whether the last state that was asked for was handed over whole.</summary>
    public bool HasSaved { get; private set; }

    /// <summary>Reads a request.</summary>
    /// <exception cref="ProtocolException">It is malformed.</exception>
    public void Decode(FrameType type, FrameReader body)
    {
        _sessions.Clear();
        _restored.Clear();
        _refusal = null;
        switch (type)
        {
            case FrameType.CanSave:
                _sessions.Add(environment.Sessions.Find(body.ReadUInt32()));
                body.End();
                break;

            case FrameType.Save:
                HasSaved = false;
                foreach (uint number in StateCodec.ReadSessions(body, environment.Limits.Sessions))
                {
                    _sessions.Add(environment.Sessions.Find(number));
                }

                break;

            default:
                _count = (int)body.ReadUInt32();
                _length = (int)body.ReadUInt32();
                body.End();
                if ((uint)_count > (uint)environment.Limits.Sessions || _length < 0)
                {
                    throw new ProtocolException($"a state of {(uint)_length} bytes with {(uint)_count} sessions");
                }

                break;
        }
    }

    /// <summary>Performs a request.</summary>
    /// <returns>The result of one that was not refused.</returns>
    public async ValueTask<TeeResult> PerformAsync(FrameType type)
    {
        try
        {
            switch (type)
            {
                case FrameType.CanSave:
                    return TeeResult.FromTee(environment.Savable!.CanSave(_sessions[0].Session)
                        ? TeeReturnCode.Success : TeeReturnCode.BadState);

                case FrameType.Save:
                    await SaveAsync();
                    break;

                default:
                    await RestoreAsync();
                    break;
            }
        }
        catch (OpTeeStateException refusal)
        {
            _refusal = refusal.Message;
        }
        catch (Exception exception)
        {
            _ = environment.Failures.Report(type, exception);
            _refusal = "the TEE has failed; the server's log says why.";
        }

        if (_refusal is not null)
        {
            environment.Log.StateRefused(environment.VirtualMachine.Name, type, _refusal);
        }

        return TeeResult.FromTee(TeeReturnCode.Success);
    }

    /// <summary>Writes the end of a request that has another one than RESULT.</summary>
    public bool TryWriteEnd(FrameBuilder frame, FrameType type, uint operation)
    {
        if (_refusal is not null)
        {
            frame.Begin(FrameType.StateRefused, environment.Channel.Partition, operation);
            StateCodec.WriteText(frame, _refusal);
            return true;
        }

        if (type != FrameType.Restore)
        {
            return false;
        }

        frame.Begin(FrameType.Restored, environment.Channel.Partition, operation);
        StateCodec.WriteSessions(frame, _restored);
        return true;
    }

    private async ValueTask SaveAsync()
    {
        ISavableTeePartition partition = environment.Savable!;
        if (_sessions.Find(session => !partition.CanSave(session.Session)) is { } other)
        {
            throw new OpTeeStateException($"A session with application {other.Application} cannot be saved now.");
        }

        StateWriter writer = new();
        writer.WriteCount(_sessions.Count);
        foreach (HostedSession session in _sessions)
        {
            writer.WriteUuid(session.Application);
        }

        writer.WriteBlock((await partition.SaveAsync(_sessions.ConvertAll(session => session.Session))).Span);
        byte[] state = SealedState.Seal(writer.Written, environment.VirtualMachine.Identity, default);
        CheckLength(state.Length);
        for (int sent = 0; sent < state.Length; sent += FrameFormat.StatePiece)
        {
            ReadOnlyMemory<byte> rest = state.AsMemory(sent);
            if (!guest.TrySendState(rest.Span[..Math.Min(rest.Length, FrameFormat.StatePiece)]))
            {
                throw new OpTeeStateException("The VMM does not take the state.");
            }
        }

        HasSaved = true;
        environment.Log.StateSaved(environment.VirtualMachine.Name, _sessions.Count, state.Length);
    }

    private async ValueTask RestoreAsync()
    {
        CheckLength(_length);
        byte[] state = Receive();
        StateReader reader = new(SealedState.Unseal(state, environment.VirtualMachine.Identity, default));
        int count = reader.ReadCount(_count, "sessions");
        Guid[] applications = new Guid[count];
        for (int index = 0; index < count; index++)
        {
            applications[index] = reader.ReadUuid();
            if (!environment.VirtualMachine.Access.Allows(applications[index]))
            {
                throw new OpTeeStateException(
                    $"The VM may not reach application {applications[index]}, with which it has a session.");
            }
        }

        ReadOnlyMemory<byte> saved = reader.ReadBlock();
        reader.End();
        if (count != _count)
        {
            throw StateReader.Malformed($"it has {count} sessions, not {_count}");
        }

        ITeeSession?[] sessions = [.. await environment.Savable!.RestoreAsync(saved, count)];
        if (sessions.Length != count)
        {
            await CloseAsync(sessions);
            throw new OpTeeStateException($"The TEE has restored {sessions.Length} sessions of {count}.");
        }

        for (int index = 0; index < count; index++)
        {
            // There are as many as were asked for, in an empty table of at least that length.
            _restored.Add(sessions[index] is { } session && environment.Sessions.TryReserve()
                ? environment.Sessions.Add(
                    session, applications[index], environment.Execution.OfApplication(applications[index])).Number
                : 0);
        }

        environment.Log.StateRestored(environment.VirtualMachine.Name, count, state.Length);
    }

    private async ValueTask CloseAsync(ITeeSession?[] sessions)
    {
        TeeRequest closing = new() { Operation = TeeOperation.CloseSession, Guest = guest };
        _ = closing.RequestTermination();
        foreach (ITeeSession session in sessions.OfType<ITeeSession>())
        {
            try
            {
                await session.CloseAsync(closing);
            }
            catch (Exception exception)
            {
                _ = environment.Failures.Report(FrameType.CloseSession, exception);
            }
        }
    }

    // Memory grows with what has come, not with what was announced.
    private byte[] Receive()
    {
        byte[] state = new byte[Math.Min(_length, FrameFormat.StatePiece)];
        for (int received = 0; received < _length;)
        {
            int piece = Math.Min(_length - received, FrameFormat.StatePiece);
            if (received + piece > state.Length)
            {
                Array.Resize(ref state, (int)Math.Min(_length, 2L * state.Length));
            }

            if (!guest.TryReceiveState(state.AsMemory(received, piece)))
            {
                throw new OpTeeStateException("The VMM does not send the state.");
            }

            received += piece;
        }

        return state;
    }

    private void CheckLength(int length)
    {
        if (length > environment.MaximumState)
        {
            throw new OpTeeStateException(
                $"The state of the VM's sessions has {length} bytes, and this server permits "
                + $"{environment.MaximumState}: raise {nameof(TeeServerOptions)}."
                + $"{nameof(TeeServerOptions.MaximumState)}.");
        }
    }
}
