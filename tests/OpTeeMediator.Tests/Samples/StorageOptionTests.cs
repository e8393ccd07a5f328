using System.CommandLine;
using KvmVmm.CommandLine;
using KvmVmm.Tee;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.Tests.Samples;

/// <summary>The samples' options for trusted storage.</summary>
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
internal sealed class StorageOptionTests
{
    private const string Id = "7b7f0d1c-6a0c-4d4b-8a8e-1d0c5f4f0a09";

    private readonly string _folder = Directory.CreateTempSubdirectory("storage-tests.").FullName;

    private string Database => Path.Combine(_folder, "tee.db");

    [TearDown]
    public void TearDown() => Directory.Delete(_folder, recursive: true);

    [TestCase("--storage tee.db", "--tee software")]
    [TestCase("--tee companion --storage tee.db", "--tee software")]
    [TestCase("--tee software --storage-key key", "--storage")]
    [TestCase("--tee companion --vm-id " + Id, "--tee software")]
    [TestCase("--tee software --storage postgres:Host=/run --vm-id " + Id, "--storage-key")]
    [TestCase("--tee software --storage postgres:Host=/run --storage-key key", "--vm-id")]
    [TestCase("--tee software --storage tee.db --vm-id 1", "--vm-id: expected a UUID")]
    [TestCase("--tee software --storage tee.db --vm-id 00000000-0000-0000-0000-000000000000", "--vm-id: expected")]
    [TestCase("--tee software --storage", "Required argument missing for option: '--storage'.")]
    public void Parse_WrongCombination_SaysWhatIsExpected(string arguments, string text) =>
        Assert.That(ErrorsOf(arguments), Has.Some.Contains(text));

    [Test]
    public void Parse_AllOptions_AreTaken()
    {
        ParseResult line = Parse($"--tee software --storage postgres:Host=/run --storage-key keyring:a --vm-id {Id}");
        Assert.That(line.Errors, Is.Empty);
        VmmOptions options = VmmCommandLine.OptionsOf(line);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(options.Storage, Is.EqualTo("postgres:Host=/run"));
            Assert.That(options.StorageKey, Is.EqualTo("keyring:a"));
            Assert.That(options.VmId, Is.EqualTo(new Guid(Id)));
        }
    }

    [Test]
    public void Open_NewFile_MakesDatabaseAndKeyThatTheNextStartUses()
    {
        TeeStorage.Open(Database, null).Dispose();
        byte[] key = File.ReadAllBytes(Database + ".key");
        TeeStorage.Open(Database, null).Dispose();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(File.Exists(Database), Is.True);
            Assert.That(File.ReadAllBytes(Database + ".key"), Is.EqualTo(key));
        }
    }

    [Test]
    public void Open_KeyOfAnExistingDatabaseIsGone_RefusesAndMakesNone()
    {
        TeeStorage.Open(Database, null).Dispose();
        File.Delete(Database + ".key");
        Assert.That(
            () => TeeStorage.Open(Database, null),
            Throws.TypeOf<TeeStoreException>().With.Message.Contains(".key cannot be read"));
        Assert.That(File.Exists(Database + ".key"), Is.False);
    }

    [TestCase("keyring:opteemediator-no-such-key", "opteemediator-no-such-key")]
    [TestCase("/nonexistent/key", "/nonexistent/key")]
    public void Open_NoKey_SaysWhichIsMissing(string key, string text) => Assert.That(
        () => TeeStorage.Open(Database, key),
        Throws.TypeOf<TeeStoreException>().With.Message.Contains(text));

    [Test]
    public void Open_NoServer_SaysThatItCannotBeReached()
    {
        TeeStorage.Open(Database, null).Dispose();
        Assert.That(
            () => TeeStorage.Open("postgres:Host=/nonexistent", Database + ".key"),
            Throws.TypeOf<TeeStoreException>().With.Message.Contains("cannot be reached"));
    }

    private static string?[] ErrorsOf(string arguments)
    {
        ParseResult line = Parse(arguments);
        return line.Errors.Count > 0
            ? [.. line.Errors.Select(error => error.Message)]
            : [VmmCommandLine.OptionsOf(line).WrongCombination];
    }

    private static ParseResult Parse(string arguments) =>
        VmmCommandLine.Parse(["--kernel", "Image", .. arguments.Split(' ')]);
}
