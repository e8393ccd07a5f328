namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>The content of a record in an <see cref="ITeeStore"/>.</summary>
/// <param name="Version">Its version, 1 or more: compared when the record is replaced or deleted.</param>
/// <param name="Data">Encrypted bytes.</param>
public readonly record struct TeeStoreRecord(long Version, ReadOnlyMemory<byte> Data);
