using System.Diagnostics;

namespace OpTeeMediator.StorageTests;

/// <summary>A file system in memory of a given size, which can become read-only.</summary>
internal sealed class SmallDisk : IDisposable
{
    private SmallDisk(int kibibytes)
    {
        Path = Directory.CreateTempSubdirectory("small-disk.").FullName;
        if (!TryRun("mount", "-t", "tmpfs", "-o", $"size={kibibytes}k,mode=0755", "none", Path))
        {
            Directory.Delete(Path);
            const string Message = "A file system cannot be mounted: it needs root's rights.";
            if (Environment.GetEnvironmentVariable("CI") == "true")
            {
                Assert.Fail(Message);
            }

            Assert.Inconclusive(Message);
        }
    }

    public string Path { get; }

    private string Filler => System.IO.Path.Combine(Path, "filler");

    /// <summary>Mounts a disk; where that is forbidden, the test is inconclusive, or fails if CI=true.</summary>
    public static SmallDisk Mount(int kibibytes) => new(kibibytes);

    /// <summary>Uses up the space but for some bytes.</summary>
    public void Fill(int remaining)
    {
        using FileStream file = new(Filler, FileMode.Create);
        file.SetLength(0);
        byte[] page = new byte[4096];
        while (new DriveInfo(Path).AvailableFreeSpace > remaining)
        {
            file.Write(page);
            file.Flush();
        }
    }

    public void Empty() => File.Delete(Filler);

    public void MakeReadOnly() => Assert.That(TryRun("mount", "-o", "remount,ro", Path), Is.True);

    public void MakeWritable() => Assert.That(TryRun("mount", "-o", "remount,rw", Path), Is.True);

    public void Dispose()
    {
        Assert.That(TryRun("umount", "--lazy", Path), Is.True);
        Directory.Delete(Path);
    }

    private static bool TryRun(string program, params string[] arguments)
    {
        using Process process = Process.Start(program, arguments);
        process.WaitForExit();
        return process.ExitCode == 0;
    }
}
