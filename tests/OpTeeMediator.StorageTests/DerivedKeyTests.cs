using System.Buffers.Binary;
using System.Security.Cryptography;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageTests;

/// <summary>Keys of a VM's application: on what they depend, and what is answered without a root key.</summary>
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
internal sealed class DerivedKeyTests
{
    private static readonly Guid OtherMachine = new("7b7f0d1c-6a0c-4d4b-8a8e-1d0c5f4f0b01");
    private static readonly Guid OtherApplication = new("7b7f0d1c-6a0c-4d4b-8a8e-1d0c5f4f0b02");

    private readonly ListLogger _log = new();

    [TearDown]
    public void DisposeLog() => _log.Dispose();

    // RFC 5869, of one block: HMAC(HMAC(salt, root), context and 1).
    [Test]
    public void DeriveKey_OneBlock_IsHkdfOfIdentityApplicationSizeAndLabel()
    {
        byte[] size = new byte[4];
        BinaryPrimitives.WriteInt32BigEndian(size, 32);
        byte[] context =
        [
            .. "OpTeeMediator application key 1"u8,
            .. Convert.FromHexString("7b7f0d1c6a0c4d4b8a8e1d0c5f4f0a02"),
            .. size,
            .. "label"u8,
            1,
        ];
        byte[] extracted =
            HMACSHA256.HashData(Convert.FromHexString("7b7f0d1c6a0c4d4b8a8e1d0c5f4f0a01"), new FixedKey(1).ReadKey());

        Assert.That(Key(), Is.EqualTo(HMACSHA256.HashData(extracted, context)));
    }

    [Test]
    public void DeriveKey_AnyInputDiffers_KeysHaveNothingInCommon()
    {
        byte[][] keys =
        [
            Key(),
            Key(root: 2),
            Key(machine: OtherMachine),
            Key(application: OtherApplication),
            Key(label: "label2"),
            Key(label: ""),
            Key(length: 64)[..32],
        ];

        Assert.That(keys.Select(Convert.ToHexString), Is.Unique);
        Assert.That(Key(), Is.EqualTo(keys[0]));
    }

    [Test]
    public void DeriveKey_LongestKey_IsFilled()
    {
        byte[] key = Key(length: TrustedApplication.LongestDerivedKey);

        Assert.That(key.AsSpan(TrustedApplication.LongestDerivedKey - 16).ContainsAnyExcept((byte)0));
    }

    [TestCase(0)]
    [TestCase(TrustedApplication.LongestDerivedKey + 1)]
    public void DeriveKey_SizeOutOfRange_IsAPanic(int length)
    {
        Assert.That(Derive(Create(new FixedKey(1)), "label", new byte[length]), Is.EqualTo(TeeReturnCode.TargetDead));
    }

    [Test]
    public void DeriveKey_NoIdentityOrNoRootKey_ReturnsNotSupportedAndZeros()
    {
        byte[] key = [1, 2, 3];

        Assert.That(
            Derive(Create(new FixedKey(1), machine: Guid.Empty), "label", key), Is.EqualTo(TeeReturnCode.NotSupported));
        Assert.That(key, Is.All.Zero);
        Assert.That(Derive(Create(null), "label", key), Is.EqualTo(TeeReturnCode.NotSupported));
    }

    [Test]
    public void DeriveKey_KeySourceThrows_ReturnsStorageNotAvailableAndLogsItOnce()
    {
        byte[] key = [1, 2, 3];
        DeriveApplication application = Create(new BrokenKey());

        TeeReturnCode first = Derive(application, "label", key);
        TeeReturnCode second = Derive(application, "label", key);

        Assert.That((first, second),
            Is.EqualTo((TeeReturnCode.StorageNotAvailable, TeeReturnCode.StorageNotAvailable)));
        Assert.That(key, Is.All.Zero);
        Assert.That(_log.Messages, Has.Exactly(1).Contains("the token is locked"));
    }

    private byte[] Key(
        byte root = 1, Guid? machine = null, Guid? application = null, string label = "label", int length = 32)
    {
        byte[] key = new byte[length];
        TeeReturnCode code = Derive(Create(new FixedKey(root), machine, application), label, key);
        Assert.That(code, Is.EqualTo(TeeReturnCode.Success));
        return key;
    }

    // The session's command derives a key.
    private static TeeReturnCode Derive(DeriveApplication application, string label, byte[] key)
    {
        (application.Label, application.Key) = (StorageBench.Bytes(label), key);
        TeeRequest request = new() { Operation = TeeOperation.InvokeCommand };
        return application.Session!.InvokeCommandAsync(request).AsTask().GetAwaiter().GetResult().Code;
    }

    private DeriveApplication Create(ITeeKeySource? source, Guid? machine = null, Guid? application = null)
    {
        DeriveApplication created = new();
        TrustedApplicationManifest manifest = new(application ?? StorageBench.Application);
        SoftwareTeeBackend tee = new(new SoftwareTeeOptions { KeySource = source }.Add(manifest, () => created));
        ITeePartition partition = tee.CreatePartition(
            new TeeVirtualMachine("vm", TeeAccess.All, 4, _log) { Identity = machine ?? StorageBench.Machine });
        TeeRequest request = new() { Operation = TeeOperation.OpenSession, Application = manifest.Uuid };
        _ = partition.OpenSessionAsync(request).AsTask().GetAwaiter().GetResult();
        created.Session = request.Session;
        return created;
    }

    private sealed class DeriveApplication : TrustedApplication
    {
        public ITeeSession? Session { get; set; }

        public byte[] Label { get; set; } = [];

        public byte[] Key { get; set; } = [];

        protected internal override TeeReturnCode InvokeCommand(ApplicationCall call) => DeriveKey(Label, Key);
    }

    private sealed class BrokenKey : ITeeKeySource
    {
        public byte[] ReadKey() => throw new IOException("the token is locked");
    }
}
