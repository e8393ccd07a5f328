using OpTeeMediator.Linux.Companion;


namespace OpTeeMediator.Tests.Companion;

/// <summary>Images in files, as OP-TEE's build leaves them.</summary>
internal static class ImageFiles
{
    /// <summary>An image without a header.</summary>
    public static OpTeeImage Raw(byte[] content) => Load(("tee-raw.bin", content));

    /// <summary>Loads the first of the files, which lie side by side.</summary>
    public static OpTeeImage Load(params (string Name, byte[] Content)[] files)
    {
        string folder = Directory.CreateTempSubdirectory("optee-image-").FullName;
        try
        {
            foreach ((string name, byte[] content) in files)
            {
                File.WriteAllBytes(Path.Combine(folder, name), content);
            }

            return OpTeeImage.Load(Path.Combine(folder, files[0].Name));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>The header of seven words, of which the first says what it is.</summary>
    public static byte[] Header(byte version, byte architecture, params uint[] words) =>
        [.. "OPTE"u8, version, architecture, 0, 0, .. words.SelectMany(BitConverter.GetBytes)];
}
