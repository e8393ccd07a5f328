namespace OpTeeMediator.Remote.Framing;

/// <summary>What every frame begins with.</summary>
/// <param name="Length">The frame's length in bytes, header included.</param>
/// <param name="Type">The message.</param>
/// <param name="Partition">The VM's number at the server; 0 before the server has given one.</param>
/// <param name="Operation">The operation that the message belongs to; 0 if none.</param>
internal readonly record struct FrameHeader(int Length, FrameType Type, uint Partition, uint Operation)
{
    /// <summary>The header's size in bytes.</summary>
    public const int Size = 16;
}
