using OpTeeMediator.Backends;
using OpTeeMediator.Fuzzing.Engine;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>Bodies of frames between a VMM and a TEE server, in both directions: HELLO, WELCOME, parameters, what
/// belongs to a saved state.</summary>
/// <remarks>An input: which of them (1 byte), then the body. A body is read, or refused as a breach of the
/// protocol.</remarks>
internal sealed class FrameTarget : FuzzTarget
{
    private readonly FrameBuilder _builder = new();

    public override IEnumerable<byte[]> Seeds
    {
        get
        {
            Guid id = new("6c1cf9a0-4a43-4a5e-9b8c-0f2e7f8a3d11");
            yield return Input(0, new Hello(4, id, "guest", null).Write);
            yield return Input(0, new Hello(1, default, "", [id, default]).Write);
            yield return Input(
                1, new Welcome(7, new(4, 8, 16, 32, 65536), [new(id)], new(4, 5, 0x1234), true, true).Write);
            yield return Input(1, new Welcome(1, new(1, 1, 1, 1, 1), null, null, false, false).Write);
            yield return Input(2, frame =>
            {
                frame.Begin(FrameType.InvokeCommand, 1, 1);
                ParameterCodec.Write(frame, TeeParameter.Value(TeeParameterKind.ValueInOut, 1, 2, 3),
                    FrameFormat.NoMemory);
                ParameterCodec.Write(frame, TeeParameter.Reference(TeeParameterKind.MemoryInput, null, 4, 5), 6);
            });
            yield return Input(3, frame =>
            {
                frame.Begin(FrameType.Save, 1, 1);
                StateCodec.WriteSessions(frame, [1, 2, 0, 7, 0]);
            });
            yield return Input(4, frame =>
            {
                frame.Begin(FrameType.StateRefused, 1, 1);
                StateCodec.WriteText(frame, "An application cannot be saved.\n");
            });
        }
    }

    public override void Execute(ReadOnlySpan<byte> input)
    {
        if (input.IsEmpty)
        {
            return;
        }

        FrameReader body = new(input[1..]);
        try
        {
            switch (input[0] % 5)
            {
                case 0:
                    ReadHello(body);
                    break;
                case 1:
                    ReadWelcome(body);
                    break;
                case 2:
                    ReadParameters(body);
                    break;
                case 3:
                    ReadSessions(body);
                    break;
                default:
                    Require(!StateCodec.ReadText(body).Any(char.IsControl), "a text can stand in a log");
                    break;
            }
        }
        catch (ProtocolException)
        {
            // The connection would be closed.
        }
    }

    private void ReadHello(FrameReader body)
    {
        if (Hello.Read(body, out _) is not { } hello)
        {
            return;
        }

        Require(hello.Calls > 0, "a VM makes calls");
        Require(hello.Name.Length <= FrameFormat.NameLength && !hello.Name.Any(char.IsControl),
            "a name can stand in a log");
        Require(hello.Applications is null || hello.Applications.Count <= FrameFormat.Applications,
            "the number of applications is limited");

        // A name may become longer in UTF-8, by replacements of what was none.
        if (System.Text.Encoding.UTF8.GetByteCount(hello.Name) <= FrameFormat.NameLength)
        {
            hello.Write(_builder);
            Hello again = Hello.Read(new FrameReader(_builder.Frame[FrameHeader.Size..]), out _)!;
            Require((again.Calls, again.Id, again.Name) == (hello.Calls, hello.Id, hello.Name)
                && (again.Applications ?? []).SequenceEqual(hello.Applications ?? []), "what is written is read");
        }
    }

    private void ReadWelcome(FrameReader body)
    {
        Welcome welcome = Welcome.Read(body);
        (int operations, int sessions, int buffers, int ranges, int frame) = welcome.Limits;
        Require(Math.Min(Math.Min(Math.Min(operations, sessions), Math.Min(buffers, ranges)), frame) > 0,
            "limits are positive");
        Require(welcome.Devices is null || welcome.Devices.Count <= FrameFormat.Devices, "devices are limited");
        welcome.Write(_builder);
        Welcome again = Welcome.Read(new FrameReader(_builder.Frame[FrameHeader.Size..]));
        Require(again.Limits == welcome.Limits && again.Partition == welcome.Partition
            && again.Revision == welcome.Revision
            && (again.Devices ?? []).SequenceEqual(welcome.Devices ?? []), "what is written is read");
    }

    private static void ReadParameters(FrameReader body)
    {
        for (TeeParameter parameter = default; body.Remaining > 0;)
        {
            ParameterFrame read = ParameterCodec.Read(ref body);
            ParameterCodec.Set(ref parameter, read, null);
            Require(parameter.Kind == read.Kind && parameter.Memory is null, "the kind is that of the frame");
            Require(parameter.Kind == TeeParameterKind.None || parameter.B == read.Second, "and so are its numbers");
        }
    }

    private void ReadSessions(FrameReader body)
    {
        const int Most = 64;
        uint[] sessions = StateCodec.ReadSessions(body, Most);
        Require(sessions.Length <= Most, "the number of sessions is limited");
        Require(sessions.Where(session => session != 0).Distinct().Count() == sessions.Count(session => session != 0),
            "a session is named once");
        _builder.Begin(FrameType.Restored, 1, 1);
        StateCodec.WriteSessions(_builder, sessions);
        Require(StateCodec.ReadSessions(new FrameReader(_builder.Frame[FrameHeader.Size..]), Most)
            .SequenceEqual(sessions), "what is written is read");
    }

    private byte[] Input(byte which, Action<FrameBuilder> write)
    {
        write(_builder);
        return [which, .. _builder.Frame[FrameHeader.Size..]];
    }
}
