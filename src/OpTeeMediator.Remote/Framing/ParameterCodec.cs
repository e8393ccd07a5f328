using OpTeeMediator.Backends;

namespace OpTeeMediator.Remote.Framing;

/// <summary>The parameters of operations and of calls to the guest, in frames.</summary>
internal static class ParameterCodec
{
    /// <summary>One parameter in a frame, in bytes.</summary>
    public const int Size = 32;

    /// <summary>Writes a parameter.</summary>
    /// <param name="frame">The frame.</param>
    /// <param name="parameter">The parameter.</param>
    /// <param name="memory">Its memory: a number, or a constant of <see cref="FrameFormat"/>.</param>
    public static void Write(FrameBuilder frame, in TeeParameter parameter, uint memory)
    {
        frame.Write((uint)parameter.Kind);
        frame.Write(memory);
        frame.Write(parameter.IsMemory ? parameter.Offset : parameter.A);
        frame.Write(parameter.IsMemory ? parameter.Size : parameter.B);
        frame.Write(parameter.C);
    }

    /// <summary>Reads a parameter.</summary>
    /// <exception cref="ProtocolException">There is no such kind.</exception>
    public static ParameterFrame Read(ref FrameReader body)
    {
        uint kind = body.ReadUInt32();
        if (kind > (uint)TeeParameterKind.MemoryInOut || kind == (uint)TeeParameterKind.ValueInOut + 1)
        {
            throw new ProtocolException($"a parameter of kind {kind}");
        }

        return new ParameterFrame(
            (TeeParameterKind)kind, body.ReadUInt32(), body.ReadUInt64(), body.ReadUInt64(), body.ReadUInt64());
    }

    /// <summary>Makes a parameter of what was read.</summary>
    /// <param name="parameter">Receives it.</param>
    /// <param name="read">What was read.</param>
    /// <param name="memory">The memory that it refers to.</param>
    /// <exception cref="ProtocolException">The reference leaves its memory.</exception>
    public static void Set(ref TeeParameter parameter, in ParameterFrame read, TeeSharedMemory? memory)
    {
        switch (read.Kind)
        {
            case TeeParameterKind.None:
                parameter.SetNone();
                break;

            case <= TeeParameterKind.ValueInOut:
                parameter.SetValue(read.Kind, read.First, read.Second);
                parameter.C = read.Third;
                break;

            default:
                if (memory is not null
                    && (read.First > memory.Size || read.Second > memory.Size - read.First))
                {
                    throw new ProtocolException(
                        $"a reference to {read.Second} bytes at {read.First} of {memory.Size}");
                }

                parameter.SetMemory(read.Kind, memory, read.First, read.Second);
                break;
        }
    }
}
