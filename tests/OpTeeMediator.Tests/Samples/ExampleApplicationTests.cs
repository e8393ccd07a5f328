using System.Security.Cryptography;
using System.Text;
using ExampleApplications;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;
using OpTeeMediator.Tests.SoftwareTee;
using static OpTeeMediator.Backends.TeeParameterKind;

namespace OpTeeMediator.Tests.Samples;

/// <summary>The example applications, with the messages that OP-TEE's host programs send.</summary>
internal sealed class ExampleApplicationTests
{
    private static readonly Guid Machine = new("7b7f0d1c-6a0c-4d4b-8a8e-1d0c5f4f0a31");

    private string _folder = "";

    [SetUp]
    public void SetUp() => _folder = Directory.CreateTempSubdirectory().FullName;

    [TearDown]
    public void TearDown() => Directory.Delete(_folder, recursive: true);

    // The UUIDs of optee_examples.
    [Test]
    public void Manifests_Uuids_AreThoseOfOpTeesExamples()
    {
        Assert.That(HelloWorldApplication.Manifest.Uuid, Is.EqualTo(new Guid("8aaaf200-2450-11e4-abe2-0002a5d5c51b")));
        Assert.That(RandomApplication.Manifest.Uuid, Is.EqualTo(new Guid("b6c53aba-9669-4668-a7f2-205629d00f86")));
        Assert.That(HotpApplication.Manifest.Uuid, Is.EqualTo(new Guid("484d4143-2d53-4841-3120-4a6f636b6542")));
        Assert.That(AesApplication.Manifest.Uuid, Is.EqualTo(new Guid("5dbac793-f574-4871-8ad3-04331ec17f24")));
        Assert.That(AcipherApplication.Manifest.Uuid, Is.EqualTo(new Guid("a734eed9-d6a1-4244-aa50-7c99719e7b7b")));
        Assert.That(
            SecureStorageApplication.Manifest.Uuid, Is.EqualTo(new Guid("f4e750bb-1437-4fbf-8785-8d3580c34994")));
    }

    [TestCase(0u, 42u, 43u)]
    [TestCase(1u, 42u, 41u)]
    [TestCase(0u, uint.MaxValue, 0u)]
    [TestCase(1u, 0u, uint.MaxValue)]
    public async Task HelloWorld_Command_Counts(uint command, uint number, uint expected)
    {
        await using ITeePartition partition = CreatePartition();
        ITeeSession session = await OpenAsync(partition, HelloWorldApplication.Manifest.Uuid);

        TeeRequest request = await InvokeAsync(session, command, TeeParameter.Value(ValueInOut, number, 0));

        Assert.That(request.Parameters[0].A, Is.EqualTo(expected));
    }

    [TestCase(16)]
    [TestCase(0)]
    [TestCase(5000)]
    public async Task Random_Generate_FillsTheBuffer(int size)
    {
        await using ITeePartition partition = CreatePartition();
        ITeeSession session = await OpenAsync(partition, RandomApplication.Manifest.Uuid);
        byte[] first = new byte[size], second = new byte[size];

        _ = await InvokeAsync(session, 0, Output(first));
        TeeRequest request = await InvokeAsync(session, 0, Output(second));

        Assert.That(request.Parameters[0].Size, Is.EqualTo(size));
        if (size > 0)
        {
            Assert.That(first, Is.Not.EqualTo(second));
            Assert.That(first.AsSpan(size - 16).ContainsAnyExcept((byte)0));
        }
    }

    // RFC 4226, appendix D.
    [Test]
    public async Task Hotp_GetPassword_GivesTheVectorsOfTheRfc()
    {
        await using ITeePartition partition = CreatePartition();
        ITeeSession session = await OpenAsync(partition, HotpApplication.Manifest.Uuid);
        _ = await InvokeAsync(session, 0, Input("12345678901234567890"u8.ToArray()));

        List<ulong> passwords = [];
        for (int count = 0; count < 10; count++)
        {
            TeeRequest request = await InvokeAsync(session, 1, TeeParameter.Value(ValueOutput, 0, 0));
            passwords.Add(request.Parameters[0].A);
        }

        Assert.That(passwords, Is.EqualTo(
            [755224, 287082, 359152, 969429, 338314, 254676, 287922, 162583, 399871, 520489]));
    }

    [TestCase(9, 1u)]
    [TestCase(65, 0u)]
    public async Task Hotp_KeyTooShortOrTooLong_ReturnsBadParameters(int size, uint failing)
    {
        await using ITeePartition partition = CreatePartition();
        ITeeSession session = await OpenAsync(partition, HotpApplication.Manifest.Uuid);

        TeeReturnCode registered = await TryInvokeAsync(session, 0, Input(new byte[size]));
        TeeReturnCode got = await TryInvokeAsync(session, 1, TeeParameter.Value(ValueOutput, 0, 0));

        Assert.That(registered, Is.EqualTo(failing == 0 ? TeeReturnCode.BadParameters : TeeReturnCode.Success));
        Assert.That(got, Is.EqualTo(TeeReturnCode.BadParameters));
    }

    [TestCase(0u)]
    [TestCase(1u)]
    [TestCase(2u)]
    public async Task Aes_EncodeAndDecode_GivesTheTextBack(uint algorithm)
    {
        await using ITeePartition partition = CreatePartition();
        ITeeSession session = await OpenAsync(partition, AesApplication.Manifest.Uuid);
        byte[] key = [.. Enumerable.Repeat((byte)0xa5, 16)], clear = [.. Enumerable.Repeat((byte)0x5a, 4096)];
        byte[] encrypted = new byte[4096], decrypted = new byte[4096];

        await ProcessAsync(session, algorithm, 1, key, clear, encrypted, pieceSize: 4096);
        await ProcessAsync(session, algorithm, 0, key, encrypted, decrypted, pieceSize: 4096);

        using Aes aes = Aes.Create();
        aes.Key = key;
        byte[] expected = algorithm switch
        {
            0 => aes.EncryptEcb(clear, PaddingMode.None),
            1 => aes.EncryptCbc(clear, new byte[16], PaddingMode.None),
            _ => Counter(aes, clear),
        };
        Assert.That(encrypted, Is.EqualTo(expected));
        Assert.That(decrypted, Is.EqualTo(clear));
    }

    [TestCase(0u, 7)]
    [TestCase(1u, 7)]
    [TestCase(2u, 7)]
    [TestCase(1u, 48)]
    public async Task Aes_PiecesOfAnySize_AreOneMessage(uint algorithm, int pieceSize)
    {
        await using ITeePartition partition = CreatePartition();
        ITeeSession session = await OpenAsync(partition, AesApplication.Manifest.Uuid);
        byte[] key = new byte[32], clear = new byte[336], whole = new byte[336], pieces = new byte[336];
        new Random(5).NextBytes(clear);

        await ProcessAsync(session, algorithm, 1, key, clear, whole, pieceSize: 336);
        await ProcessAsync(session, algorithm, 1, key, clear, pieces, pieceSize);

        Assert.That(pieces, Is.EqualTo(whole));
    }

    [TestCase(3u)]
    [TestCase(4u)]
    public async Task Aes_AuthenticatedEncodeAndDecode_GivesTheTextBackAndNoticesAChange(uint algorithm)
    {
        await using ITeePartition partition = CreatePartition();
        ITeeSession session = await OpenAsync(partition, AesApplication.Manifest.Uuid);
        byte[] key = [.. Enumerable.Repeat((byte)0xa5, 16)], clear = "TestCCMMessage"u8.ToArray();
        byte[] encrypted = new byte[80], decrypted = new byte[80], tag = new byte[16];

        await PrepareAsync(session, algorithm, 1, key);
        TeeRequest request = await InvokeAsync(
            session, 4, Input(clear), Output(encrypted), TeeParameter.Value(ValueInput, 1, 0), InOut(tag));
        Assert.That((request.Parameters[1].Size, request.Parameters[3].Size), Is.EqualTo((14ul, 16ul)));
        await PrepareAsync(session, algorithm, 0, key);
        TeeParameter[] decoding =
            [Input(encrypted[..14]), Output(decrypted), TeeParameter.Value(ValueInput, 0, 0), InOut(tag)];
        request = await InvokeAsync(session, 4, decoding);
        Assert.That(decrypted[..(int)request.Parameters[1].Size], Is.EqualTo(clear));

        tag[3] ^= 1;

        Assert.That(await TryInvokeAsync(session, 4, decoding), Is.EqualTo(TeeReturnCode.MacInvalid));
    }

    [Test]
    public async Task Aes_CommandsOutOfOrder_AreNoPanic()
    {
        await using ITeePartition partition = CreatePartition();
        ITeeSession session = await OpenAsync(partition, AesApplication.Manifest.Uuid);

        TeeReturnCode[] codes =
        [
            await TryInvokeAsync(session, 1, Input(new byte[16])),
            await TryInvokeAsync(session, 2, Input(new byte[16])),
            await TryInvokeAsync(session, 3, Input(new byte[16]), Output(new byte[16])),
            await TryInvokeAsync(
                session, 4, Input([]), Output([]), TeeParameter.Value(ValueInput, 0, 0), InOut(new byte[16])),
            await TryInvokeAsync(session, 9),
        ];

        Assert.That(codes, Is.EqualTo(
            [
                TeeReturnCode.BadParameters, TeeReturnCode.BadState, TeeReturnCode.BadState, TeeReturnCode.BadState,
                TeeReturnCode.NotSupported,
            ]));
    }

    [TestCase(0x6000_0130u)]
    [TestCase(0x6021_0230u)]
    [TestCase(0x6041_0230u)]
    [TestCase(0x6051_0230u)]
    [TestCase(0x6061_0230u)]
    public async Task Acipher_EncryptAndDecrypt_AsksForTheSizeAndGivesTheTextBack(uint algorithm)
    {
        await using ITeePartition partition = CreatePartition();
        ITeeSession session = await OpenAsync(partition, AcipherApplication.Manifest.Uuid);
        byte[] clear = "a text to encrypt"u8.ToArray();
        _ = await InvokeAsync(session, 0, TeeParameter.Value(ValueInput, 2048, 0));

        byte[] encrypted = await TransformAsync(session, clear, encrypts: 1, algorithm);
        byte[] decrypted = await TransformAsync(session, encrypted, encrypts: 0, algorithm);

        Assert.That(encrypted, Has.Length.EqualTo(256));
        Assert.That(decrypted, Is.EqualTo(clear));
    }

    [Test]
    public async Task Acipher_WrongInput_IsNoPanic()
    {
        await using ITeePartition partition = CreatePartition();
        ITeeSession session = await OpenAsync(partition, AcipherApplication.Manifest.Uuid);
        Task<TeeReturnCode> Try(byte[] input, ulong encrypts, ulong algorithm) => TryInvokeAsync(
            session,
            1,
            Input(input),
            Output(new byte[512]),
            TeeParameter.Value(ValueInput, encrypts, 0),
            TeeParameter.Value(ValueInput, algorithm, 0));

        Assert.That(await Try([1], 1, 0x6041_0230), Is.EqualTo(TeeReturnCode.BadState));
        Assert.That(
            await TryInvokeAsync(session, 0, TeeParameter.Value(ValueInput, 1 << 20, 0)),
            Is.EqualTo(TeeReturnCode.NotSupported));
        _ = await InvokeAsync(session, 0, TeeParameter.Value(ValueInput, 2048, 0));
        Assert.That(await Try([1], 1, 7), Is.EqualTo(TeeReturnCode.NotSupported));
        Assert.That(await Try(new byte[255], 1, 0x6041_0230), Is.EqualTo(TeeReturnCode.BadParameters));
        Assert.That(await Try(new byte[1 << 20], 1, 0x6041_0230), Is.EqualTo(TeeReturnCode.ExcessData));
        Assert.That(await Try(new byte[256], 0, 0x6041_0230), Is.EqualTo(TeeReturnCode.CiphertextInvalid));
    }

    // The host program's two objects: one is written, read and deleted, the other is kept until the next run.
    [Test]
    public async Task SecureStorage_TwoRuns_SecondFindsWhatTheFirstLeft()
    {
        byte[] kept = Encoding.UTF8.GetBytes("This is data stored in the secure storage.\n\0");

        TeeReturnCode first = await RunAsync();
        TeeReturnCode second = await RunAsync();
        TeeReturnCode third = await RunAsync();

        Assert.That((first, second, third), Is.EqualTo(
            (TeeReturnCode.ItemNotFound, TeeReturnCode.Success, TeeReturnCode.ItemNotFound)));

        async Task<TeeReturnCode> RunAsync()
        {
            SqliteTeeStore store = new(Path.Combine(_folder, "tee.db"));
            await using ITeePartition partition = CreatePartition(store);
            ITeeSession session = await OpenAsync(partition, SecureStorageApplication.Manifest.Uuid);
            byte[] data = [.. Enumerable.Repeat((byte)0xa1, 7000)], read = new byte[7000];
            TeeParameter one = Input("object#1"u8.ToArray()), two = Input("object#2"u8.ToArray());
            _ = await InvokeAsync(session, 1, one, Input(data));
            _ = await InvokeAsync(session, 0, one, Output(read));
            Assert.That(read, Is.EqualTo(data));
            _ = await InvokeAsync(session, 2, one);
            Assert.That(await TryInvokeAsync(session, 2, one), Is.EqualTo(TeeReturnCode.ItemNotFound));

            TeeReturnCode code = await TryInvokeAsync(session, 0, two, Output(read));
            if (code == TeeReturnCode.Success)
            {
                Assert.That(read[..kept.Length], Is.EqualTo(kept));
                _ = await InvokeAsync(session, 2, two);
            }
            else
            {
                _ = await InvokeAsync(session, 1, two, Input(kept));
            }

            await session.CloseAsync();
            return code;
        }
    }

    [Test]
    public async Task SecureStorage_BufferTooShort_ReturnsShortBufferWithTheSize()
    {
        SqliteTeeStore store = new(Path.Combine(_folder, "tee.db"));
        await using ITeePartition partition = CreatePartition(store);
        ITeeSession session = await OpenAsync(partition, SecureStorageApplication.Manifest.Uuid);
        _ = await InvokeAsync(session, 1, Input([1]), Input(new byte[7000]));

        TeeRequest request = SoftwareTeeBench.Command(0, Input([1]), Output(new byte[6999]));
        TeeResult result = await session.InvokeCommandAsync(request);

        Assert.That(
            (result.Code, request.Parameters[1].Size), Is.EqualTo((TeeReturnCode.ShortBuffer, 7000ul)));
    }

    [Test]
    public async Task SecureStorage_NoStore_IsNotThere()
    {
        await using ITeePartition partition = CreatePartition();
        TeeRequest request = new()
        {
            Operation = TeeOperation.OpenSession,
            Application = SecureStorageApplication.Manifest.Uuid,
        };

        Assert.That((await partition.OpenSessionAsync(request)).Code, Is.EqualTo(TeeReturnCode.ItemNotFound));
    }

    [Test]
    public async Task Caller_Commands_AreDoneByTheOtherApplications()
    {
        await using ITeePartition partition = CreatePartition();
        ITeeSession session = await OpenAsync(partition, CallerApplication.Manifest.Uuid);
        byte[] numbers = new byte[16];

        TeeRequest request = await InvokeAsync(session, 0, TeeParameter.Value(ValueInOut, 41, 0));
        _ = await InvokeAsync(session, 1, Output(numbers));

        Assert.That(request.Parameters[0].A, Is.EqualTo(42));
        Assert.That(numbers, Is.Not.All.Zero);
    }

    private static ITeePartition CreatePartition(ITeeStore? store = null)
    {
        SoftwareTeeOptions options = new()
        {
            KeySource = new RootKey(),
            Storage = store is null ? null : new TrustedStorageOptions(store),
        };
        TeeVirtualMachine machine =
            SoftwareTeeBench.VirtualMachine("vm", new RecordingLoggers()) with { Identity = Machine };
        return new SoftwareTeeBackend(options.AddExampleApplications()).CreatePartition(machine);
    }

    private static async Task<ITeeSession> OpenAsync(ITeePartition partition, Guid application)
    {
        TeeRequest request = new() { Operation = TeeOperation.OpenSession, Application = application };
        Assert.That(await partition.OpenSessionAsync(request), Is.EqualTo(TeeResult.Success));
        return request.Session!;
    }

    private static async Task<TeeRequest> InvokeAsync(
        ITeeSession session, uint command, params TeeParameter[] parameters)
    {
        TeeRequest request = SoftwareTeeBench.Command(command, parameters);
        Assert.That(await session.InvokeCommandAsync(request), Is.EqualTo(TeeResult.Success));
        return request;
    }

    private static async Task<TeeReturnCode> TryInvokeAsync(
        ITeeSession session, uint command, params TeeParameter[] parameters) =>
        (await session.InvokeCommandAsync(SoftwareTeeBench.Command(command, parameters))).Code;

    private static async Task PrepareAsync(ITeeSession session, uint algorithm, uint direction, byte[] key)
    {
        _ = await InvokeAsync(
            session,
            0,
            TeeParameter.Value(ValueInput, algorithm, 0),
            TeeParameter.Value(ValueInput, (ulong)key.Length, 0),
            TeeParameter.Value(ValueInput, direction, 0));
        _ = await InvokeAsync(session, 1, Input(key));
    }

    private static async Task ProcessAsync(
        ITeeSession session, uint algorithm, uint direction, byte[] key, byte[] source, byte[] target, int pieceSize)
    {
        await PrepareAsync(session, algorithm, direction, key);

        // The host program sends NULL for ECB.
        _ = await InvokeAsync(
            session, 2, algorithm == 0 ? TeeParameter.Reference(MemoryInput, null, 0, 0) : Input(new byte[16]));
        int written = 0;
        for (int offset = 0; offset < source.Length; offset += pieceSize)
        {
            byte[] piece = source[offset..Math.Min(source.Length, offset + pieceSize)], output = new byte[64];
            output = piece.Length > output.Length ? new byte[piece.Length] : output;
            TeeRequest request = await InvokeAsync(session, 3, Input(piece), Output(output));
            output.AsSpan(0, (int)request.Parameters[1].Size).CopyTo(target.AsSpan(written));
            written += (int)request.Parameters[1].Size;
        }

        Assert.That(written, Is.EqualTo(source.Length));
    }

    // The host program asks for the size first.
    private static async Task<byte[]> TransformAsync(ITeeSession session, byte[] input, uint encrypts, uint algorithm)
    {
        TeeParameter direction = TeeParameter.Value(ValueInput, encrypts, 0);
        TeeParameter number = TeeParameter.Value(ValueInput, algorithm, 0);
        TeeRequest asking = SoftwareTeeBench.Command(
            1, Input(input), TeeParameter.Reference(MemoryOutput, null, 0, 0), direction, number);
        TeeResult result = await session.InvokeCommandAsync(asking);
        Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.ShortBuffer, TeeOrigin.TrustedApplication)));
        byte[] output = new byte[asking.Parameters[1].Size];
        TeeRequest request = await InvokeAsync(session, 1, Input(input), Output(output), direction, number);
        return output[..(int)request.Parameters[1].Size];
    }

    private static byte[] Counter(Aes aes, byte[] clear)
    {
        byte[] blocks = new byte[clear.Length];
        for (int block = 0; block < clear.Length / 16; block++)
        {
            (blocks[(block * 16) + 14], blocks[(block * 16) + 15]) = ((byte)(block >> 8), (byte)block);
        }

        byte[] stream = aes.EncryptEcb(blocks, PaddingMode.None);
        return [.. stream.Zip(clear, (one, other) => (byte)(one ^ other))];
    }

    private static TeeParameter Input(byte[] bytes) => Reference(MemoryInput, bytes);

    private static TeeParameter Output(byte[] bytes) => Reference(MemoryOutput, bytes);

    private static TeeParameter InOut(byte[] bytes) => Reference(MemoryInOut, bytes);

    private static TeeParameter Reference(TeeParameterKind kind, byte[] bytes) =>
        TeeParameter.Reference(kind, new ArraySharedMemory(bytes), 0, (ulong)bytes.Length);

    private sealed class RootKey : ITeeKeySource
    {
        public byte[] ReadKey() => [.. Enumerable.Repeat((byte)7, 32)];
    }
}
