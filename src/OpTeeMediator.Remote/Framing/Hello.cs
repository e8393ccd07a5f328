using System.Text;

namespace OpTeeMediator.Remote.Framing;

/// <summary>The client's first message: which VM asks for what.</summary>
/// <param name="Calls">How many operations may run at the same time.</param>
/// <param name="Id">The VM's durable identity; all zero for none.</param>
/// <param name="Name">The VM's name, for logs.</param>
/// <param name="Applications">What the VM may reach; <see langword="null"/> for every application.</param>
internal sealed record Hello(int Calls, Guid Id, string Name, IReadOnlyCollection<Guid>? Applications)
{
    public void Write(FrameBuilder frame)
    {
        Span<byte> name = stackalloc byte[FrameFormat.NameLength];
        _ = Encoding.UTF8.TryGetBytes(Name, name, out int length);
        frame.Begin(FrameType.Hello, 0, 0);
        frame.Write(FrameFormat.Magic);
        frame.Write((uint)FrameFormat.Version);
        frame.Write((uint)Calls);
        frame.Write(Id);
        frame.Write((uint)length);
        frame.Write(Applications is null ? FrameFormat.EveryApplication : (uint)Applications.Count);
        frame.Write(name[..length]);
        foreach (Guid application in Applications ?? [])
        {
            frame.Write(application);
        }
    }

    /// <summary>Reads the body.</summary>
    /// <param name="body">The body.</param>
    /// <param name="version">The client's version; the message is read only if it is this one's.</param>
    /// <exception cref="ProtocolException">It is no such message.</exception>
    public static Hello? Read(FrameReader body, out uint version)
    {
        if (body.ReadUInt32() != FrameFormat.Magic)
        {
            throw new ProtocolException("a HELLO of another protocol");
        }

        version = body.ReadUInt32();
        if (version != FrameFormat.Version)
        {
            return null;
        }

        uint calls = body.ReadUInt32();
        Guid id = body.ReadGuid();
        uint length = body.ReadUInt32();
        uint count = body.ReadUInt32();
        bool hasList = count <= FrameFormat.Applications || count == FrameFormat.EveryApplication;
        if (length > FrameFormat.NameLength || !hasList || calls is 0 or > int.MaxValue)
        {
            throw new ProtocolException($"a HELLO for {calls} calls, {count} applications, a name of {length} bytes");
        }

        string name = Printable(Encoding.UTF8.GetString(body.Take((int)length)));
        if (count == FrameFormat.EveryApplication)
        {
            body.End();
            return new Hello((int)calls, id, name, null);
        }

        Guid[] applications = new Guid[count];
        for (int index = 0; index < applications.Length; index++)
        {
            applications[index] = body.ReadGuid();
        }

        body.End();
        return new Hello((int)calls, id, name, applications);
    }

    // It comes into logs.
    private static string Printable(string name) => string.Create(name.Length, name, static (text, name) =>
    {
        for (int index = 0; index < name.Length; index++)
        {
            text[index] = char.IsControl(name[index]) || char.IsSurrogate(name[index]) ? '?' : name[index];
        }
    });
}
