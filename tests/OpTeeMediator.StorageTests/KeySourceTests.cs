using System.Diagnostics;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Linux;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageTests;

/// <summary>Root keys in files and in the kernel's keyrings: what is accepted, and what is refused and why.</summary>
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
internal sealed class KeySourceTests
{
    private const string Nobody = "65534";

    private readonly string _folder = Directory.CreateTempSubdirectory("storage-tests.").FullName;
    private readonly string _name = $"opteemediator-test:{Guid.NewGuid()}";

    private string KeyFile => Path.Combine(_folder, "key");

    [TearDown]
    public void TearDown() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void KeyFile_Created_IsReadByItsOwnerOnly()
    {
        TeeKeyFile file = new(KeyFile);
        AssertRefused(file, "cannot be read");
        TeeKeyFile.Create(KeyFile);
        Assert.That(File.GetUnixFileMode(KeyFile), Is.EqualTo(UnixFileMode.UserRead | UnixFileMode.UserWrite));
        Assert.That(file.ReadKey(), Has.Length.EqualTo(32).And.EqualTo(File.ReadAllBytes(KeyFile)));
        Assert.That(() => TeeKeyFile.Create(KeyFile), Throws.InstanceOf<IOException>(), "never overwritten");
    }

    [TestCase("640")]
    [TestCase("604")]
    [TestCase("602")]
    [TestCase("700")]
    public void KeyFile_OtherMode_IsRefused(string mode)
    {
        TeeKeyFile.Create(KeyFile);
        File.SetUnixFileMode(KeyFile, (UnixFileMode)Convert.ToInt32(mode, 8));
        AssertRefused(new TeeKeyFile(KeyFile), "mode 0600");
    }

    [TestCase(31)]
    [TestCase(65)]
    public void KeyFile_OtherLength_IsRefused(int length)
    {
        TeeKeyFile.Create(KeyFile);
        File.WriteAllBytes(KeyFile, new byte[length]);
        AssertRefused(new TeeKeyFile(KeyFile), $"{length} bytes");
    }

    [Test]
    public void KeyFile_OfAnotherUser_IsRefused()
    {
        if (!Environment.IsPrivilegedProcess)
        {
            Assert.Ignore("Only root can read a file of another user with mode 0600.");
        }

        TeeKeyFile.Create(KeyFile);
        using (Process change = Process.Start("chown", [Nobody, KeyFile]))
        {
            change.WaitForExit();
            Assert.That(change.ExitCode, Is.Zero);
        }

        AssertRefused(new TeeKeyFile(KeyFile), $"belongs to user {Nobody}");
    }

    [Test]
    public void Keyring_KeyOfTheUser_IsReadAndKeepsObjects()
    {
        byte[] key = StorageBench.Pattern(48, 1);
        _ = KernelKeyring.Add(_name, key);
        KernelKeyringSource source = new(_name);
        Assert.That(source.ReadKey(), Is.EqualTo(key));
        MemoryStore store = new();
        using (StorageBench bench = new(store, source))
        {
            Assert.That(bench.Put("a", 1), Is.EqualTo(TeeReturnCode.Success));
        }

        using StorageBench again = new(store, source);
        Assert.That(again.Get("a", out byte[] data), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(data, Is.EqualTo([1]));
    }

    [TestCase(31)]
    [TestCase(65)]
    [TestCase(5000)]
    public void Keyring_KeyOfAnotherLength_IsRefused(int length)
    {
        _ = KernelKeyring.Add(_name, new byte[length]);
        AssertRefused(new KernelKeyringSource(_name), $"{length} bytes");
    }

    [Test]
    public void Keyring_NoKey_NotAvailableAndTheOperatorIsTold()
    {
        // The thread may have no keyring yet, as a VMM that was started by hand.
        _ = KernelKeyring.Add(_name + " of another name", new byte[32]);
        using StorageBench bench = new(new MemoryStore(), new KernelKeyringSource(_name));
        Assert.That(bench.Put("a", 1), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        Assert.That(bench.Logger.Messages.Single(), Does.Contain(_name).And.Contains("keyctl add"));
    }

    // The kernel may have collected it, and then knows of no such key.
    [Test]
    public void Keyring_KeyRevoked_IsRefused()
    {
        KernelKeyring.RevokeKey(KernelKeyring.Add(_name, new byte[32]));
        AssertRefused(new KernelKeyringSource(_name), _name);
    }

    // Possessor all, user read and view; in addition group or others: read, search, write.
    [TestCase(0x3f03_0200u)]
    [TestCase(0x3f03_0002u)]
    [TestCase(0x3f03_0008u)]
    [TestCase(0x3f03_0004u)]
    public void Keyring_KeyOpenToOthers_IsRefused(uint permissions)
    {
        KernelKeyring.SetKeyPermissions(KernelKeyring.Add(_name, new byte[32]), permissions);
        AssertRefused(new KernelKeyringSource(_name), "open to others");
    }

    [Test]
    public void Keyring_KeyOfAnotherUser_IsRefused()
    {
        if (!Environment.IsPrivilegedProcess)
        {
            Assert.Ignore("Only root can give a key to another user.");
        }

        KernelKeyring.SetKeyOwner(KernelKeyring.Add(_name, new byte[32]), uint.Parse(Nobody));
        AssertRefused(new KernelKeyringSource(_name), $"belongs to user {Nobody}");
    }

    [Test]
    public void Keyring_NoName_Throws()
    {
        Assert.That(() => new KernelKeyringSource(""), Throws.ArgumentException);
        Assert.That(() => new KernelKeyringSource("a\0b"), Throws.ArgumentException);
        Assert.That(() => new KernelKeyringSource(new string('a', 4096)), Throws.ArgumentException);
    }

    private static void AssertRefused(ITeeKeySource source, string text) =>
        Assert.That(source.ReadKey, Throws.TypeOf<TeeStoreException>().With.Message.Contains(text));
}
