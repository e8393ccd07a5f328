using OpTeeMediator.Backends;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Server;

/// <summary>Where a VM goes on whose sessions were restored here, or saved, and tells the TEE.</summary>
/// <remarks>
/// <para>A restored VM may still run where it was saved, until its client says COMMIT or has an operation performed
/// that only a running VM has. A saved one may go on elsewhere, until its next operation. If the client says ABANDON
/// before that, or the connection ends, the VM is abandoned here.</para>
/// <para>Only the connection's thread uses it.</para>
/// </remarks>
internal sealed class HostedMove(HostedEnvironment environment)
{
    private HostedOperation? _saving;
    private Phase _phase;

    private enum Phase
    {
        // Or, if it was saved, perhaps elsewhere.
        Here,

        // RESTORE has come, and no more yet.
        Restored,

        Abandoned,
    }

    /// <summary>Notes a message of the client, before what it asks for is begun.</summary>
    /// <param name="type">The message.</param>
    /// <param name="operation">The operation that it is for; <see langword="null"/> for COMMIT and ABANDON.</param>
    /// <exception cref="ProtocolException">The VM was abandoned, or is not one that was restored.</exception>
    public void Take(FrameType type, HostedOperation? operation)
    {
        switch (type)
        {
            case FrameType.Restore:
                _phase = Phase.Restored;
                break;

            case FrameType.Save:
                _saving = operation;
                break;

            case FrameType.Abandon:
                if (!MayGoOnElsewhere)
                {
                    throw new ProtocolException($"{type} of a VM that was neither restored nor saved");
                }

                Abandon();
                break;

            case FrameType.Commit:
                if (_phase != Phase.Restored)
                {
                    throw new ProtocolException($"{type} of a VM that is not being restored");
                }

                RunHere();
                break;

            // By which what an abandoned VM has is freed.
            case FrameType.CloseSession or FrameType.UnregisterMemory or FrameType.Destroy
                when _phase == Phase.Abandoned:
                break;

            // A part of a restore, and of its end.
            case FrameType.RegisterMemory or FrameType.UnregisterMemory when _phase != Phase.Abandoned:
                _saving = null;
                break;

            case FrameType.OpenSession or FrameType.InvokeCommand or FrameType.CloseSession
                or FrameType.RegisterMemory or FrameType.Reset or FrameType.Destroy:
                ThrowIfAbandoned(type);
                RunHere();
                break;

            // An operation goes on that has waited for the guest.
            case FrameType.Answer when operation is not { IsTransferring: true }:
                _saving = null;
                break;
        }
    }

    /// <summary>The VM has no connection any more, and no operation is left.</summary>
    public void EndConnection()
    {
        if (MayGoOnElsewhere)
        {
            Abandon();
        }
    }

    private bool MayGoOnElsewhere => _phase == Phase.Restored || _saving is { HasSaved: true };

    private void RunHere()
    {
        _saving = null;
        if (_phase == Phase.Restored)
        {
            _phase = Phase.Here;
            Tell(FrameType.Commit, static partition => partition.Commit());
        }
    }

    private void Abandon()
    {
        _phase = Phase.Abandoned;
        _saving = null;
        environment.Log.Abandoned(environment.VirtualMachine.Name);
        Tell(FrameType.Abandon, static partition => partition.Abandon());
    }

    private void Tell(FrameType type, Action<ISavableTeePartition> tell)
    {
        try
        {
            tell(environment.Savable!);
        }
        catch (Exception exception)
        {
            environment.Log.OutcomeFailed(environment.VirtualMachine.Name, type, exception);
        }
    }

    private void ThrowIfAbandoned(FrameType type)
    {
        if (_phase == Phase.Abandoned)
        {
            throw new ProtocolException($"{type} of a VM that was abandoned");
        }
    }
}
