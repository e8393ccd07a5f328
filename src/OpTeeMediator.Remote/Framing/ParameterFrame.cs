using OpTeeMediator.Backends;

namespace OpTeeMediator.Remote.Framing;

/// <summary>A parameter as it stands in a frame.</summary>
/// <param name="Kind">Its kind.</param>
/// <param name="Memory">Its memory: a number, or a constant of <see cref="FrameFormat"/>.</param>
/// <param name="First">The first number, or the offset.</param>
/// <param name="Second">The second number, or the size.</param>
/// <param name="Third">The third number, of calls to the guest only.</param>
internal readonly record struct ParameterFrame(
    TeeParameterKind Kind, uint Memory, ulong First, ulong Second, ulong Third)
{
    /// <summary>Whether it refers to memory, and not NULL.</summary>
    public bool HasMemory => Kind >= TeeParameterKind.MemoryInput && Memory != FrameFormat.NoMemory;
}
