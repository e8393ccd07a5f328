using System.Text;

namespace OpTeeMediator.Remote.Framing;

/// <summary>Reads and writes what the messages about a saved state consist of.</summary>
internal static class StateCodec
{
    /// <summary>Writes the numbers of sessions.</summary>
    public static void WriteSessions(FrameBuilder frame, IReadOnlyCollection<uint> sessions)
    {
        frame.Write((uint)sessions.Count);
        foreach (uint session in sessions)
        {
            frame.Write(session);
        }
    }

    /// <summary>Reads the numbers of sessions, with which the message ends.</summary>
    /// <param name="body">The rest of the message.</param>
    /// <param name="maximum">How many there may be.</param>
    /// <exception cref="ProtocolException">There are more, or a number twice.</exception>
    public static uint[] ReadSessions(FrameReader body, int maximum)
    {
        uint count = body.ReadUInt32();
        if (count > (uint)maximum)
        {
            throw new ProtocolException($"a state with {count} sessions; {maximum} are allowed");
        }

        uint[] sessions = new uint[count];
        HashSet<uint> found = [];
        for (int index = 0; index < sessions.Length; index++)
        {
            sessions[index] = body.ReadUInt32();
            if (sessions[index] != 0 && !found.Add(sessions[index]))
            {
                throw new ProtocolException($"a state with session {sessions[index]} twice");
            }
        }

        body.End();
        return sessions;
    }

    /// <summary>Writes a message for the peer's operator.</summary>
    public static void WriteText(FrameBuilder frame, string message)
    {
        byte[] text = Encoding.UTF8.GetBytes(message);
        frame.Write(text.AsSpan(0, Math.Min(text.Length, FrameFormat.TextLength)));
    }

    /// <summary>Reads a message for this side's operator, which comes into logs.</summary>
    /// <exception cref="ProtocolException">It is too long.</exception>
    public static string ReadText(FrameReader body)
    {
        if (body.Remaining > FrameFormat.TextLength)
        {
            throw new ProtocolException($"a message of {body.Remaining} bytes; {FrameFormat.TextLength} are allowed");
        }

        string text = Encoding.UTF8.GetString(body.Take(body.Remaining));
        return string.Create(text.Length, text, static (printable, text) =>
        {
            for (int index = 0; index < text.Length; index++)
            {
                printable[index] = char.IsControl(text[index]) || char.IsSurrogate(text[index]) ? '?' : text[index];
            }
        });
    }
}
