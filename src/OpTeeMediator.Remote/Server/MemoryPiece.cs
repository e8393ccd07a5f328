namespace OpTeeMediator.Remote.Server;

/// <summary>A piece of a buffer that is contiguous in a file.</summary>
/// <param name="Start">Where it begins in the buffer, in bytes.</param>
/// <param name="Length">Its length in bytes.</param>
/// <param name="File">The file.</param>
/// <param name="Offset">Where it begins in the file, in bytes.</param>
internal readonly record struct MemoryPiece(ulong Start, ulong Length, HostedFile File, ulong Offset)
{
    public nint Address => File.Address + (nint)Offset;
}
