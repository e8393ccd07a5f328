using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace OpTeeMediator.StorageTests;

/// <summary>What crash tests write: the content tells its version, and a mixture of two versions is none.</summary>
internal static class WrittenObject
{
    /// <summary>How many objects there are.</summary>
    public const int Count = 3;

    /// <summary>The object of a version; an even one and the next are of one object and one length.</summary>
    public static string IdOf(int version) => $"object {version / 2 % Count}";

    public static byte[] ContentOf(int version)
    {
        int[] content = new int[5000 + (version / 2 * 977 % 5000)];
        content.AsSpan().Fill(version);
        return MemoryMarshal.AsBytes<int>(content).ToArray();
    }

    /// <summary>The version of a content.</summary>
    /// <returns>Its version, or -1 if it is that of none.</returns>
    public static int VersionOf(ReadOnlySpan<byte> content)
    {
        int version = content.Length < sizeof(int) ? -1 : BinaryPrimitives.ReadInt32LittleEndian(content);
        return version >= 0 && content.SequenceEqual(ContentOf(version)) ? version : -1;
    }
}
