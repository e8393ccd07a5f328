using System.Security.Cryptography;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>Trusted keys, asked as Linux's driver asks.</summary>
internal sealed class TrustedKeyTests
{
    // Of Linux's trusted_tee.c.
    private const uint GetRandom = 0;
    private const uint Seal = 1;
    private const uint Unseal = 2;

    private static readonly Guid Machine = new("7b7f0d1c-6a0c-4d4b-8a8e-1d0c5f4f0a01");
    private static readonly Guid OtherMachine = new("7b7f0d1c-6a0c-4d4b-8a8e-1d0c5f4f0a02");

    private readonly byte[] _key = [.. Enumerable.Range(0, 32).Select(value => (byte)value)];

    [Test]
    public async Task Devices_NoIdentityOrNoRootKey_LackTrustedKeys()
    {
        TeeDevice device = new(SoftwareTeeBackend.TrustedKeysUuid);
        await using ITeePartition complete = Partition(Machine);
        await using ITeePartition nameless = Partition(Guid.Empty);
        await using ITeePartition keyless =
            new SoftwareTeeBackend(new SoftwareTeeOptions().AddTrustedKeys()).CreatePartition(VirtualMachine(Machine));

        Assert.That(complete.Devices, Does.Contain(device));
        Assert.That(nameless.Devices, Does.Not.Contain(device));
        Assert.That(keyless.Devices, Does.Not.Contain(device));
        Assert.That(await OpenAsync(nameless), Is.EqualTo(TeeReturnCode.ItemNotFound));
    }

    [TestCase(TeeLogin.Public)]
    [TestCase(TeeLogin.User)]
    [TestCase(TeeLogin.Application)]
    public async Task OpenSession_OtherThanTheKernel_AccessDenied(TeeLogin login)
    {
        await using ITeePartition partition = Partition(Machine);

        Assert.That(await OpenAsync(partition, login), Is.EqualTo(TeeReturnCode.AccessDenied));
    }

    [Test]
    public async Task Unseal_SameVmStartedAgain_GivesTheKey()
    {
        byte[] sealedKey = await RunAsync(Machine, Seal, _key);
        byte[] again = await RunAsync(Machine, Seal, _key);

        Assert.That(await RunAsync(Machine, Unseal, sealedKey), Is.EqualTo(_key));
        Assert.That(again, Is.Not.EqualTo(sealedKey));
        Assert.That(Convert.ToHexString(sealedKey), Does.Not.Contain(Convert.ToHexString(_key[..8])));
    }

    [TestCase(1)]
    [TestCase(128)]
    [TestCase(512 - 49)]
    public async Task Unseal_AnyLength_GivesTheKey(int length)
    {
        byte[] key = RandomNumberGenerator.GetBytes(length);

        Assert.That(await RunAsync(Machine, Unseal, await RunAsync(Machine, Seal, key)), Is.EqualTo(key));
    }

    [Test]
    public async Task Unseal_OtherVm_Security()
    {
        byte[] sealedKey = await RunAsync(Machine, Seal, _key);

        Assert.That(await CodeAsync(OtherMachine, Unseal, sealedKey), Is.EqualTo(TeeReturnCode.Security));
    }

    [Test]
    public async Task Unseal_AnyByteChanged_Refused()
    {
        byte[] sealedKey = await RunAsync(Machine, Seal, _key);
        for (int index = 0; index < sealedKey.Length; index++)
        {
            sealedKey[index] ^= 0x40;
            TeeReturnCode expected = index == 0 ? TeeReturnCode.BadFormat : TeeReturnCode.Security;
            Assert.That(await CodeAsync(Machine, Unseal, sealedKey), Is.EqualTo(expected), $"byte {index}");
            sealedKey[index] ^= 0x40;
        }

        Assert.That(await CodeAsync(Machine, Unseal, sealedKey[..^1]), Is.EqualTo(TeeReturnCode.Security));
        Assert.That(await CodeAsync(Machine, Unseal, [.. sealedKey, 0]), Is.EqualTo(TeeReturnCode.Security));
    }

    // The sealed key is longer than the key by 49 bytes.
    [TestCase(Seal, 0, 512, TeeReturnCode.BadParameters)]
    [TestCase(Seal, 513, 512, TeeReturnCode.BadParameters)]
    [TestCase(Seal, 32, 513, TeeReturnCode.BadParameters)]
    [TestCase(Seal, 32, 80, TeeReturnCode.ShortBuffer)]
    [TestCase(Seal, 32, 0, TeeReturnCode.ShortBuffer)]
    [TestCase(Seal, 512, 512, TeeReturnCode.ShortBuffer)]
    [TestCase(Unseal, 0, 512, TeeReturnCode.BadParameters)]
    [TestCase(Unseal, 49, 512, TeeReturnCode.BadParameters)]
    [TestCase(Unseal, 50, 0, TeeReturnCode.ShortBuffer)]
    [TestCase(Unseal, 513, 512, TeeReturnCode.BadParameters)]
    [TestCase(3u, 32, 512, TeeReturnCode.NotSupported)]
    public async Task Command_WrongSizes_RefusedAsOpTeeDoes(
        uint command, int inputSize, int outputSize, TeeReturnCode expected) =>
        Assert.That(await CodeAsync(Machine, command, new byte[inputSize], outputSize), Is.EqualTo(expected));

    [Test]
    public async Task GetRandom_TwoRequests_Differ()
    {
        byte[] first = new byte[32];
        byte[] second = new byte[32];
        await using ITeePartition partition = Partition(Machine);
        ITeeSession session = await SessionAsync(partition);

        Assert.That((await session.InvokeCommandAsync(Random(first))).Code, Is.EqualTo(TeeReturnCode.Success));
        Assert.That((await session.InvokeCommandAsync(Random(second))).Code, Is.EqualTo(TeeReturnCode.Success));
        Assert.That((await session.InvokeCommandAsync(Random(new byte[513]))).Code,
            Is.EqualTo(TeeReturnCode.BadParameters));
        await session.CloseAsync();

        Assert.That(first, Is.Not.EqualTo(new byte[32]).And.Not.EqualTo(second));
    }

    private static TeeVirtualMachine VirtualMachine(Guid id) =>
        SoftwareTeeBench.VirtualMachine("vm", new RecordingLoggers()) with { Identity = id };

    private static ITeePartition Partition(Guid id) =>
        new SoftwareTeeBackend(new SoftwareTeeOptions { KeySource = new RootKey() }.AddTrustedKeys())
            .CreatePartition(VirtualMachine(id));

    private static async Task<TeeReturnCode> OpenAsync(ITeePartition partition, TeeLogin login = TeeLogin.Kernel) =>
        (await partition.OpenSessionAsync(Opening(login))).Code;

    private static async Task<ITeeSession> SessionAsync(ITeePartition partition)
    {
        TeeRequest request = Opening(TeeLogin.Kernel);
        Assert.That(await partition.OpenSessionAsync(request), Is.EqualTo(TeeResult.Success));
        return request.Session!;
    }

    private static TeeRequest Opening(TeeLogin login) => new()
    {
        Operation = TeeOperation.OpenSession,
        Application = SoftwareTeeBackend.TrustedKeysUuid,
        Client = new ClientIdentity(login, Guid.Empty),
    };

    private static TeeRequest Random(byte[] output) => SoftwareTeeBench.Command(
        GetRandom, Reference(TeeParameterKind.MemoryOutput, output));

    private static TeeParameter Reference(TeeParameterKind kind, byte[] memory) =>
        TeeParameter.Reference(kind, new ArraySharedMemory(memory), 0, (ulong)memory.Length);

    private static async Task<byte[]> RunAsync(Guid id, uint command, byte[] input)
    {
        byte[] output = new byte[512];
        (TeeReturnCode code, ulong size) = await CommandAsync(id, command, input, output);
        Assert.That(code, Is.EqualTo(TeeReturnCode.Success));
        return output[..(int)size];
    }

    private static async Task<TeeReturnCode> CodeAsync(Guid id, uint command, byte[] input, int outputSize = 512)
    {
        byte[] output = new byte[outputSize];
        TeeReturnCode code = (await CommandAsync(id, command, input, output)).Code;
        Assert.That(output, Is.EqualTo(new byte[outputSize]), "nothing of a refused command reaches the guest");
        return code;
    }

    // A VM of its own each time, so that nothing but root key and identity connects two commands.
    private static async Task<(TeeReturnCode Code, ulong Size)> CommandAsync(
        Guid id, uint command, byte[] input, byte[] output)
    {
        await using ITeePartition partition = Partition(id);
        ITeeSession session = await SessionAsync(partition);
        TeeRequest request = SoftwareTeeBench.Command(
            command,
            Reference(TeeParameterKind.MemoryInput, input),
            Reference(TeeParameterKind.MemoryOutput, output));
        TeeResult result = await session.InvokeCommandAsync(request);
        await session.CloseAsync();
        return (result.Code, request.Parameters[1].Size);
    }

    private sealed class RootKey : ITeeKeySource
    {
        public byte[] ReadKey() => [.. Enumerable.Repeat((byte)7, 32)];
    }
}
