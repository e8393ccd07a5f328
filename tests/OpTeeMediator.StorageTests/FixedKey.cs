using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageTests;

/// <summary>A root key of equal bytes.</summary>
internal sealed class FixedKey(byte value) : ITeeKeySource
{
    public byte[] ReadKey() => [.. Enumerable.Repeat(value, 32)];
}
