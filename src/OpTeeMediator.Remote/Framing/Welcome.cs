using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Remote.Framing;

/// <summary>The server's answer to <see cref="Hello"/>: what the VM gets.</summary>
/// <param name="Partition">The VM's number.</param>
/// <param name="Limits">What it may use.</param>
/// <param name="Devices">The TEE's devices, if it has an enumeration.</param>
/// <param name="Revision">The TEE's revision, if it is known.</param>
/// <param name="CanSave">Whether sessions can be saved and restored.</param>
/// <param name="KnowsOutcome">Whether the server is to be told if a restored VM runs.</param>
internal sealed record Welcome(
    uint Partition,
    ProtocolLimits Limits,
    IReadOnlyList<TeeDevice>? Devices,
    OpTeeRevision? Revision,
    bool CanSave,
    bool KnowsOutcome)
{
    public void Write(FrameBuilder frame)
    {
        frame.Begin(FrameType.Welcome, 0, 0);
        frame.Write(FrameFormat.Magic);
        frame.Write((uint)FrameFormat.Version);
        frame.Write(Partition);
        frame.Write((uint)Limits.Operations);
        frame.Write((uint)Limits.Sessions);
        frame.Write((uint)Limits.Buffers);
        frame.Write((uint)Limits.Ranges);
        frame.Write((uint)Limits.Frame);
        frame.Write((Devices is null ? 0 : FrameFormat.DevicesFlag)
            | (Revision is null ? 0 : FrameFormat.RevisionFlag)
            | (CanSave ? FrameFormat.SavingFlag : 0)
            | (KnowsOutcome ? FrameFormat.OutcomeFlag : 0));
        frame.Write(Revision?.Major ?? 0);
        frame.Write(Revision?.Minor ?? 0);
        frame.Write(Revision?.BuildId ?? 0);
        int count = Math.Min(Devices?.Count ?? 0, FrameFormat.Devices);
        frame.Write((uint)count);
        for (int index = 0; index < count; index++)
        {
            frame.Write(Devices![index].Uuid);
            frame.Write((uint)Devices[index].Dependency);
        }
    }

    /// <summary>Reads the body.</summary>
    /// <exception cref="ProtocolException">It is no such message.</exception>
    public static Welcome Read(FrameReader body)
    {
        if (body.ReadUInt32() != FrameFormat.Magic || body.ReadUInt32() != FrameFormat.Version)
        {
            throw new ProtocolException("a WELCOME of another protocol");
        }

        uint partition = body.ReadUInt32();
        ProtocolLimits limits = new(
            ReadLimit(ref body), ReadLimit(ref body), ReadLimit(ref body), ReadLimit(ref body), ReadLimit(ref body));
        uint flags = body.ReadUInt32();
        OpTeeRevision revision = new(body.ReadUInt32(), body.ReadUInt32(), body.ReadUInt64());
        uint count = body.ReadUInt32();
        if (count > FrameFormat.Devices)
        {
            throw new ProtocolException($"a WELCOME with {count} devices");
        }

        TeeDevice[] devices = new TeeDevice[count];
        for (int index = 0; index < devices.Length; index++)
        {
            devices[index] = new TeeDevice(body.ReadGuid(), (TeeDeviceDependency)body.ReadUInt32());
        }

        body.End();
        return new Welcome(
            partition,
            limits,
            (flags & FrameFormat.DevicesFlag) != 0 ? devices : null,
            (flags & FrameFormat.RevisionFlag) != 0 ? revision : null,
            (flags & FrameFormat.SavingFlag) != 0,
            (flags & FrameFormat.OutcomeFlag) != 0);
    }

    private static int ReadLimit(ref FrameReader body)
    {
        uint limit = body.ReadUInt32();
        return limit is > 0 and <= 1 << 30 ? (int)limit : throw new ProtocolException($"a limit of {limit}");
    }
}
