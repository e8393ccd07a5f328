namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>An object in the directory of its application.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Number">Its random number, which its records have.</param>
/// <param name="Head">Its head record.</param>
/// <param name="Size">The size of its data, in bytes.</param>
internal sealed record DirectoryEntry(byte[] Id, Guid Number, RecordReference Head, long Size)
{
    /// <summary>What the object counts for the VM's quota beyond its data, in bytes.</summary>
    public const int Overhead = 256;
}
