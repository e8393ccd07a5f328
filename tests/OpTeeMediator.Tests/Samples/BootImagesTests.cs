using KvmVmm.CommandLine;
using KvmVmm.Machine;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Samples;

/// <summary>Where KvmVmm puts kernel, initramfs and device tree.</summary>
[TestFixture]
internal sealed class BootImagesTests
{
    private const ulong Mebibyte = 1 << 20;
    private const ulong RamStart = 0x4000_0000;
    private const ulong DeviceTreeArea = 2 * Mebibyte;

    // What Debian's OP-TEE keeps.
    private static readonly GuestRange Reserved = new(0x4200_0000, 2 * Mebibyte);

    private string _folder = "";

    [SetUp]
    public void SetUp() => _folder = Directory.CreateTempSubdirectory().FullName;

    [TearDown]
    public void TearDown() => Directory.Delete(_folder, recursive: true);

    [TestCase(64, 10, 20, 0ul)]
    [TestCase(64, 10, 28, 0ul)]
    [TestCase(64, 10, 29, 34ul)]
    [TestCase(64, 10, 30, 34ul)]
    [TestCase(64, 31, 1, 0ul)]
    [TestCase(64, 28, 30, 34ul)]
    [TestCase(65, 10, 8, 0ul)]
    [TestCase(128, 40, 20, 34ul)]
    [TestCase(64 << 10, 30, 100, 0ul)]
    public void Open_ATeeKeepsMemory_NothingOverlaps(
        int ramMebibytes, int kernelMebibytes, int initrdMebibytes, ulong kernelAt)
    {
        GuestRange ram = new(RamStart, (ulong)ramMebibytes * Mebibyte);

        using BootImages images = Open(ram, kernelMebibytes, initrdMebibytes);

        GuestRange kernel = new(images.Entry, (ulong)kernelMebibytes * Mebibyte);
        GuestRange tree = new(images.DeviceTree, DeviceTreeArea);
        GuestRange[] all = [kernel, tree, images.Initrd, Reserved];
        using (Assert.EnterMultipleScope())
        {
            Assert.That(images.Entry.Value, Is.EqualTo(RamStart + (kernelAt * Mebibyte)));
            Assert.That(all.SelectMany(one => all.Where(other => other != one && other.Overlaps(one))), Is.Empty);
            Assert.That(all.Where(range => !ram.Contains(range.Start, range.Length)), Is.Empty);
            Assert.That(tree.Start.Value % DeviceTreeArea, Is.Zero, "the device tree straddles a boundary");
            Assert.That(
                images.Initrd.End.Value - RamStart,
                Is.LessThanOrEqualTo(32ul << 30),
                "Linux finds an initramfs within 32 GiB");
        }
    }

    [TestCase(64, 10, 33)]
    [TestCase(64, 63, 0)]
    [TestCase(64, 32, 31)]
    public void Open_NoRoom_SaysWhatTheTeeKeeps(int ramMebibytes, int kernelMebibytes, int initrdMebibytes) =>
        Assert.That(
            () => Open(new GuestRange(RamStart, (ulong)ramMebibytes * Mebibyte), kernelMebibytes, initrdMebibytes),
            Throws.InstanceOf<BootException>().With.Message.Contains(
                Reserved.ToString()).And.Message.Contains("--memory"));

    private BootImages Open(GuestRange ram, int kernelMebibytes, int initrdMebibytes)
    {
        // struct arm64_image_header: image_size at 16, the magic number at 56.
        byte[] header = new byte[4096];
        BitConverter.TryWriteBytes(header.AsSpan(16), (ulong)kernelMebibytes * Mebibyte);
        "ARMd"u8.CopyTo(header.AsSpan(56));
        string kernel = Path.Combine(_folder, "Image");
        File.WriteAllBytes(kernel, header);
        string? initrd = null;
        if (initrdMebibytes != 0)
        {
            initrd = Path.Combine(_folder, "initrd");
            using FileStream stream = File.Create(initrd);
            stream.SetLength(initrdMebibytes * (long)Mebibyte);
        }

        return BootImages.Open(new VmmOptions { Kernel = kernel, Initrd = initrd }, ram, [Reserved]);
    }
}
