using System.Text;

namespace OpTeeMediator.Machines.Partitioned;

/// <summary>An archive that Linux unpacks into its initramfs.</summary>
/// <remarks>Source: Linux's <c>Documentation/driver-api/early-userspace/buffer-format.rst</c> ("newc").</remarks>
internal static class CpioArchive
{
    private const string End = "TRAILER!!!";
    private const int RegularFile = 0x8180; // for the owner alone

    /// <summary>Writes an archive.</summary>
    /// <param name="files">The files by absolute path.</param>
    /// <returns>The archive; nothing if there are no files.</returns>
    public static byte[] Write(IReadOnlyDictionary<string, byte[]> files)
    {
        if (files.Count == 0)
        {
            return [];
        }

        using MemoryStream archive = new();
        int number = 0;
        foreach ((string path, byte[] content) in files)
        {
            Add(archive, ++number, path.TrimStart('/'), content);
        }

        Add(archive, 0, End, []);
        return archive.ToArray();
    }

    private static void Add(MemoryStream archive, int number, string name, byte[] content)
    {
        byte[] path = Encoding.UTF8.GetBytes(name + '\0');
        int[] fields = [number, RegularFile, 0, 0, 1, 0, content.Length, 0, 0, 0, 0, path.Length, 0];
        archive.Write(Encoding.ASCII.GetBytes("070701" + string.Concat(fields.Select(field => $"{field:x8}"))));
        archive.Write(path);
        Pad(archive);
        archive.Write(content);
        Pad(archive);
    }

    private static void Pad(MemoryStream archive)
    {
        while (archive.Length % 4 != 0)
        {
            archive.WriteByte(0);
        }
    }
}
