using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Workers;

/// <summary>What a server tells the worker process of one VM, with the VM's connection.</summary>
/// <param name="Partition">The VM's number.</param>
/// <param name="MaximumCalls">How many calls at a time the VM may ask for.</param>
/// <param name="Limits">What else it may use.</param>
/// <param name="MaximumFiles">RLIMIT_NOFILE of the process.</param>
/// <param name="RequiresFilter">Whether it serves no VM without a filter of system calls.</param>
/// <param name="MayStartPrograms">Whether its filter permits programs.</param>
/// <param name="MaximumState">How long the saved state of its sessions may be, in bytes.</param>
/// <param name="HandshakeTimeout">How long the VMM may take to say which VM it has.</param>
/// <param name="SendTimeout">How long it may leave frames unread.</param>
/// <param name="Applications">What the VM may reach at most; <see langword="null"/> for every application.</param>
internal sealed record WorkerSettings(
    uint Partition,
    int MaximumCalls,
    ProtocolLimits Limits,
    int MaximumFiles,
    bool RequiresFilter,
    bool MayStartPrograms,
    int MaximumState,
    TimeSpan HandshakeTimeout,
    TimeSpan SendTimeout,
    IReadOnlyCollection<Guid>? Applications)
{
    public void Write(FrameBuilder frame)
    {
        frame.Begin(FrameType.Hello, 0, 0);
        frame.Write(Partition);
        frame.Write((uint)MaximumCalls);
        frame.Write((uint)Limits.Sessions);
        frame.Write((uint)Limits.Buffers);
        frame.Write((uint)Limits.Ranges);
        frame.Write((uint)Limits.Frame);
        frame.Write((uint)MaximumFiles);
        frame.Write(RequiresFilter ? 1u : 0);
        frame.Write(MayStartPrograms ? 1u : 0);
        frame.Write((uint)MaximumState);
        frame.Write((ulong)HandshakeTimeout.Ticks);
        frame.Write((ulong)SendTimeout.Ticks);
        frame.Write(Applications is null ? FrameFormat.EveryApplication : (uint)Applications.Count);
        foreach (Guid application in Applications ?? [])
        {
            frame.Write(application);
        }
    }

    /// <summary>Reads the body.</summary>
    /// <exception cref="ProtocolException">It is no such message.</exception>
    public static WorkerSettings Read(FrameReader body)
    {
        uint partition = body.ReadUInt32();
        int calls = (int)body.ReadUInt32();
        ProtocolLimits limits = new(
            calls,
            (int)body.ReadUInt32(),
            (int)body.ReadUInt32(),
            (int)body.ReadUInt32(),
            (int)body.ReadUInt32());
        int files = (int)body.ReadUInt32();
        bool requiresFilter = body.ReadUInt32() != 0;
        bool mayStartPrograms = body.ReadUInt32() != 0;
        int state = (int)body.ReadUInt32();
        TimeSpan handshake = new((long)body.ReadUInt64());
        TimeSpan send = new((long)body.ReadUInt64());
        uint count = body.ReadUInt32();
        Guid[]? applications = null;
        if (count != FrameFormat.EveryApplication)
        {
            applications = new Guid[Math.Min(count, (uint)body.Remaining)];
            for (int index = 0; index < applications.Length; index++)
            {
                applications[index] = body.ReadGuid();
            }
        }

        body.End();
        return new WorkerSettings(
            partition, calls, limits, files, requiresFilter, mayStartPrograms, state, handshake, send, applications);
    }
}
