using System.Runtime.Versioning;
using System.Security.Cryptography;
using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.ReadmeSnippets;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.Testing;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Documentation;

/// <summary>The snippets of the pages do what the pages say.</summary>
[UnsupportedOSPlatform("windows")]
internal sealed class SnippetRunTests
{
    private static readonly GuestRange Ram = new(0x4000_0000, 2 << 20);

    private string _folder = null!;

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("optee-snippets").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task MovingVm_OfTheStatePage_GoesOnAndItsApplicationToo()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(Ram);
        SoftwareTeeBackend tee = new(new SoftwareTeeOptions()
            .Add(new TrustedApplicationManifest(Guid.NewGuid()), () => new Counter()));
        OpTeeGuestOptions options = new() { Identity = Guid.NewGuid() };
        await using OpTeeGuest guest = new(memory, tee, options);

        await using OpTeeGuest? restored = await MovingVm.MoveAsync(guest, memory, tee, options, new byte[32]);

        Assert.That(restored, Is.Not.Null);
    }

    [Test]
    [NonParallelizable]
    public void CompleteProgram_OfTheReadme_PrintsWhatTheReadmeSays()
    {
        using StringWriter output = new();
        TextWriter console = Console.Out;
        Console.SetOut(output);
        try
        {
            object? result = typeof(Adder).Assembly.EntryPoint!.Invoke(null, [Array.Empty<string>()]);
            (result as Task)?.GetAwaiter().GetResult();
        }
        finally
        {
            Console.SetOut(console);
        }

        string text = output.ToString().Trim();
        RepositoryFile readme = Repository.Files.Single(file => file.Path == "README.md");
        Assert.That(text, Does.Contain("42"));
        Assert.That(readme.Lines, Has.Some.Contains($"It prints `{text}`"));
    }

    [Test]
    public async Task MyMemoryAndMyTee_WithAGuestsDriver_Multiply()
    {
        MyMemory memory = new(Ram);
        await using OpTeeGuest optee = new(
            memory, new MyTee(), new OpTeeGuestOptions { Access = TeeAccess.Only(MyTee.Uuid) });

        Assert.That(Multiply(memory, optee), Is.EqualTo(6 * 7));
    }

    [Test]
    public async Task Server_WithAVmmOfTheSnippet_ServesItsGuest()
    {
        string path = Path.Combine(_folder, "tee");
        TeeAccess access = TeeAccess.Only(MyTee.Uuid);
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(Ram);
        ulong? product = null;

        await Server.ServeAsync(new MyTee(), path, access, () =>
            Server.UseAsync(memory, path, access, optee => product = Multiply(memory, optee)));

        Assert.That(product, Is.EqualTo(6 * 7));
    }

    [Test]
    public async Task Storage_OfTheSnippet_IsMadeAndOpenedAgain()
    {
        string key = Path.Combine(_folder, "key");
        string database = Path.Combine(_folder, "objects");
        Guid identity = new("7c1f0a52-53a8-4b06-8d51-0c9b6f1f2a10");
        OpTeeGuestStatus? status = null;

        for (int start = 0; start < 2; start++)
        {
            await Storage.OpenAsync(key, database, new MyMemory(Ram), identity, optee => status = optee.Status);
        }

        Assert.That(status, Is.Not.Null);
        Assert.That(File.Exists(key) && File.Exists(database), Is.True);
        Assert.That(File.GetUnixFileMode(key), Is.EqualTo(UnixFileMode.UserRead | UnixFileMode.UserWrite));
    }

    [Test]
    public void OwnLoop_WithAGuestsDriver_WritesTheRegistersThatChanged()
    {
        SmcRouter smc = new(new OpTeeGuest(new MyMemory(Ram), new MyTee(), new OpTeeGuestOptions()));
        ulong[] registers = new ulong[31];
        List<int> written = [];
        int skipped = 0;
        void Run(ulong function)
        {
            registers[0] = function;
            OwnLoop.HandleSmc(
                smc, x => registers[x], (x, value) => { registers[x] = value; written.Add(x); }, () => skipped++);
        }

        Run(OpTeeSmc.CallsRevision);

        Assert.That((registers[0], registers[1]), Is.EqualTo((2UL, 0UL)));
        Assert.That(written, Has.All.LessThan(2));

        Run(0x8400_0000); // PSCI_VERSION is not OP-TEE's

        Assert.That(registers[0], Is.EqualTo(ulong.MaxValue));
        Assert.That(skipped, Is.EqualTo(2));
    }

    [Test]
    public void MappedMemory_OfTheSnippet_ReadsAndWritesWhatTheVmmHasMapped()
    {
        using MemfdGuestMemory mapped = MemfdGuestMemory.Create(Ram);
        Assert.That(mapped.TryGetHostAddress(Ram, out nint address), Is.True);
        bool isWritten = false;

        MappedMemory.Run(address, Ram.Length, memory => isWritten = memory.TryWrite(Ram.Start, [0x5a]));

        byte[] seen = new byte[1];
        Assert.That(isWritten && mapped.TryRead(Ram.Start, seen), Is.True);
        Assert.That(seen[0], Is.EqualTo(0x5a));
    }

    [Test]
    public async Task DigestApplication_OfTheSnippet_AnswersTheHashAndTheSessionsTotal()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(Ram);
        byte[] hash = new byte[SHA256.HashSizeInBytes];
        ulong total = 0;

        await DigestWiring.RunAsync(memory, optee =>
        {
            FakeDriver driver = new(optee, memory, new GuestRange(Ram.Start, 1 << 20));
            _ = driver.Call(OpTeeSmc.ExchangeCapabilities);
            ulong page = driver.AllocatePage();
            driver.Write<byte>(page, "abc"u8);
            _ = driver.Register([page], 0, GuestPages.PageSize, 0x77);
            uint session = driver.OpenSession(DigestApplication.Uuid).Session;
            for (int call = 0; call < 2; call++)
            {
                total = driver.Invoke(
                    session,
                    DigestApplication.Digest,
                    GuestParameter.RegisteredIn(0, 3, 0x77),
                    GuestParameter.RegisteredOut(1024, 32, 0x77),
                    GuestParameter.ValueOut()).Parameters[2].A;
            }

            driver.Read<byte>(page + 1024, hash);
        });

        Assert.That(hash, Is.EqualTo(SHA256.HashData("abc"u8)));
        Assert.That(total, Is.EqualTo(6));
    }

    [Test]
    public async Task Policy_OfTheSnippet_HidesOtherApplications()
    {
        MyMemory memory = new(Ram);
        OpTeeGuestOptions options = Policy.Create(
            new Guid("7c1f0a52-53a8-4b06-8d51-0c9b6f1f2a10"),
            application: new Guid("7c1f0a52-53a8-4b06-8d51-0c9b6f1f2a11"),
            NullLoggerFactory.Instance);
        await using OpTeeGuest optee = new(memory, new MyTee(), options);
        FakeDriver driver = new(optee, memory, new GuestRange(Ram.Start, 1 << 20));
        _ = driver.Call(OpTeeSmc.ExchangeCapabilities);

        Assert.That(
            driver.OpenSession(MyTee.Uuid).ReturnCode, Is.EqualTo((uint)TeeReturnCode.ItemNotFound));
        Assert.That(driver.Call(OpTeeSmc.GetThreadCount).X1, Is.EqualTo(4));
    }

    [Test]
    public void OpenSession_OfTheSnippet_SendsWhatTheDriverSends()
    {
        GuestMessage driver = FakeDriver.Opening(MyTee.Uuid, client: default, login: 0);

        Assert.That(
            OpenSession.MetaParameters(MyTee.Uuid),
            Is.EqualTo(driver.Parameters.Select(parameter =>
                new[] { parameter.Attributes, parameter.A, parameter.B, parameter.C })));
    }

    /// <summary>RFC 4493, example 1: the CMAC of an empty message.</summary>
    [Test]
    public void Cryptography_OfTheSnippet_GivesTheVectorsOfRfc4493() => Assert.That(
        Convert.ToHexStringLower(Cryptography.Authenticate(
            Convert.FromHexString("2b7e151628aed2a6abf7158809cf4f3c"), [])),
        Is.EqualTo("bb1d6929e95937287fa37d129b756746"));

    [Test]
    public void DeviceTreeNode_InTheReadme_IsThatOfTheCode()
    {
        string readme = string.Join('\n', Repository.Files.Single(file => file.Path == "README.md").Lines);

        Assert.That(readme, Does.Contain($"compatible = \"{OpTeeDeviceTreeNode.Compatible}\""));
        Assert.That(readme, Does.Contain($"method = \"{OpTeeDeviceTreeNode.Method}\""));
        Assert.That(readme, Does.Contain($"{OpTeeDeviceTreeNode.ParentName} {{\n    {OpTeeDeviceTreeNode.Name} {{"));
    }

    private static ulong Multiply(IGuestMemory memory, IGuestOpTee optee)
    {
        FakeDriver driver = new(optee, memory, new GuestRange(Ram.Start, 1 << 20));
        _ = driver.Call(OpTeeSmc.ExchangeCapabilities);
        uint session = driver.OpenSession(MyTee.Uuid).Session;
        return driver.Invoke(session, 0, GuestParameter.ValueInOut(6, 7)).Parameters[0].A;
    }
}
