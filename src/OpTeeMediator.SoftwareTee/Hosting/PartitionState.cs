using System.Buffers;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.State;

namespace OpTeeMediator.SoftwareTee.Hosting;

/// <summary>Saves and restores the instances and sessions of one VM's trusted applications.</summary>
/// <remarks>Called while the VM is paused. A session whose application has panicked is saved as what it is.</remarks>
/// <param name="hosts">The applications.</param>
/// <param name="randomNumbers">The session of the built-in random number generator, which keeps nothing.</param>
/// <param name="environment">What the applications share.</param>
internal sealed class PartitionState(
    IReadOnlyDictionary<Guid, ApplicationHost> hosts, ITeeSession? randomNumbers, ApplicationEnvironment environment)
{
    private enum SessionKind
    {
        Dead,
        RandomNumbers,
        Application,
    }

    public bool CanSave(ITeeSession session) =>
        session == randomNumbers
        || (session is ApplicationSession application
            && (application.Instance.IsDead || application.Instance.CanSave));

    public byte[] Save(IReadOnlyList<ITeeSession> sessions)
    {
        StateWriter writer = new();
        writer.WriteUInt32(SavedTee.Software);
        List<(ApplicationHost Host, ApplicationInstance Instance)> instances = FindInstances(sessions);
        writer.WriteCount(instances.Count);
        foreach ((ApplicationHost host, ApplicationInstance instance) in instances)
        {
            writer.WriteUuid(host.Manifest.Uuid);
            WriteBlock(writer, host, instance, static (application, _, state) => application.SaveInstance(state), null);
        }

        foreach (ITeeSession session in sessions)
        {
            if (session is not ApplicationSession application)
            {
                writer.WriteByte((byte)SessionKind.RandomNumbers);
                continue;
            }

            if (application.Instance.IsDead)
            {
                writer.WriteByte((byte)SessionKind.Dead);
                continue;
            }

            writer.WriteByte((byte)SessionKind.Application);
            writer.WriteCount(instances.FindIndex(found => found.Instance == application.Instance));
            writer.WriteUInt32((uint)application.Client.Login);
            writer.WriteUuid(application.Client.Uuid);
            WriteBlock(
                writer, application.Host, application.Instance,
                static (application, context, state) => application.SaveSession(context, state), application.Context);
        }

        return writer.Written.ToArray();
    }

    public List<ITeeSession?> Restore(ReadOnlyMemory<byte> state, int count)
    {
        StateReader reader = new(state);
        SavedTee.Check(reader, SavedTee.Software);
        List<(ApplicationHost Host, ApplicationInstance Instance)> instances = [];
        List<ITeeSession?> sessions = [];
        try
        {
            int number = reader.ReadCount(count + hosts.Count, "instances of applications");
            for (int index = 0; index < number; index++)
            {
                Guid uuid = reader.ReadUuid();
                if (!hosts.TryGetValue(uuid, out ApplicationHost? host))
                {
                    throw new OpTeeStateException(
                        $"Application {uuid} is missing: give the VM the applications that it had when it was saved.");
                }

                instances.Add((host, host.RestoreInstance(reader.ReadBlock().Span)));
            }

            for (int index = 0; index < count; index++)
            {
                sessions.Add(RestoreSession(reader, instances));
            }

            reader.End();
            if (instances.Exists(static made => made.Instance.Sessions == 0 && !made.Host.Manifest.SingleInstance))
            {
                throw StateReader.Malformed("an instance has no session");
            }

            environment.ThrowIfStorageWasUsed();
            return sessions;
        }
        catch
        {
            Abandon(instances, sessions);
            throw;
        }
    }

    private ITeeSession? RestoreSession(
        StateReader reader, List<(ApplicationHost Host, ApplicationInstance Instance)> instances)
    {
        switch (reader.ReadEnum<SessionKind>())
        {
            case SessionKind.Dead:
                return null;

            case SessionKind.RandomNumbers:
                return randomNumbers;

            default:
                int index = (int)reader.ReadUInt32();
                TeeLogin login = (TeeLogin)reader.ReadUInt32();
                Guid client = reader.ReadUuid();
                if ((uint)index >= (uint)instances.Count
                    || !ClientIdentity.TryClaim(login, client, out ClientIdentity identity))
                {
                    throw StateReader.Malformed("a session is of no instance or client");
                }

                (ApplicationHost host, ApplicationInstance instance) = instances[index];
                if (!environment.VirtualMachine.Access.Allows(host.Manifest.Uuid))
                {
                    throw new OpTeeStateException(
                        $"The VM may not reach application {host.Manifest.Uuid}, with which it has a session.");
                }

                return host.RestoreSession(instance, identity, reader.ReadBlock().Span);
        }
    }

    // Those that are kept alive without a session are found at their applications.
    private List<(ApplicationHost Host, ApplicationInstance Instance)> FindInstances(
        IReadOnlyList<ITeeSession> sessions)
    {
        List<(ApplicationHost Host, ApplicationInstance Instance)> instances = [];
        HashSet<ApplicationInstance> found = [];
        foreach (ApplicationSession session in sessions.OfType<ApplicationSession>())
        {
            if (!session.Instance.IsDead && found.Add(session.Instance))
            {
                instances.Add((session.Host, session.Instance));
            }
        }

        foreach (ApplicationHost host in hosts.Values)
        {
            if (host.Idle is { CanSave: true } idle)
            {
                instances.Add((host, idle));
            }
        }

        return instances;
    }

    private static void WriteBlock(
        StateWriter writer, ApplicationHost host, ApplicationInstance instance,
        Action<ISavableApplication, object?, IBufferWriter<byte>> save, object? context)
    {
        ArrayBufferWriter<byte> state = new();
        try
        {
            save((ISavableApplication)instance.Application, context, state);
        }
        catch (Exception exception)
        {
            throw new OpTeeStateException(
                $"Application {host.Manifest.Uuid} ({instance.Application.GetType()}) cannot be saved: "
                + exception.Message,
                exception);
        }

        writer.WriteBlock(state.WrittenSpan);
    }

    private static void Abandon(
        List<(ApplicationHost Host, ApplicationInstance Instance)> instances, List<ITeeSession?> sessions)
    {
        foreach ((ApplicationHost host, ApplicationInstance instance) in instances)
        {
            host.Abandon(instance);
        }

        // With its last session each instance ends.
        TeeRequest closing = new() { Operation = TeeOperation.CloseSession, Guest = new Operations.NoGuest() };
        foreach (ITeeSession session in sessions.OfType<ITeeSession>())
        {
            session.CloseAsync(closing).AsTask().GetAwaiter().GetResult();
        }
    }
}
