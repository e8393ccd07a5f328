namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>An object that <see cref="TrustedStorage.Enumerate"/> has found.</summary>
/// <param name="Id">Its id: 0 to 64 bytes.</param>
/// <param name="Size">The size of its data, in bytes.</param>
public readonly record struct TrustedObjectInfo(ReadOnlyMemory<byte> Id, long Size);
