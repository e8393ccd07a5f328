using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;

namespace OpTeeMediator.Tests.SoftwareTee;

internal sealed class RandomNumberGeneratorTests
{
    // PTA_CMD_GET_ENTROPY and PTA_CMD_GET_RNG_INFO.
    private const uint GetEntropy = 0;
    private const uint GetInformation = 1;

    private ITeePartition _partition = null!;
    private ITeeSession _session = null!;

    // As the trace of Linux 6.12 has it: a public session, then INFO, then ENTROPY with 0x40 bytes.
    [SetUp]
    public async Task OpenAsync()
    {
        _partition = new SoftwareTeeBackend(new SoftwareTeeOptions())
            .CreatePartition(SoftwareTeeBench.VirtualMachine("vm", new RecordingLoggers()));
        TeeRequest request = new()
        {
            Operation = TeeOperation.OpenSession,
            Application = new Guid("ab7a617c-b8e7-4d8f-8301-d09b61036b64"),
            Client = new ClientIdentity(TeeLogin.Public, Guid.Empty),
        };
        Assert.That(await _partition.OpenSessionAsync(request), Is.EqualTo(TeeResult.Success));
        _session = request.Session!;
    }

    [TearDown]
    public async Task CloseAsync()
    {
        await _session.CloseAsync();
        await _partition.DisposeAsync();
    }

    [Test]
    public async Task GetInformation_AsTheDriverAsks_FullEntropyWithoutSleeping()
    {
        TeeRequest request =
            SoftwareTeeBench.Command(GetInformation, TeeParameter.Value(TeeParameterKind.ValueOutput, 0, 0));

        Assert.That(await _session.InvokeCommandAsync(request), Is.EqualTo(TeeResult.Success));

        // The driver sleeps for 1000 × bytes ÷ rate milliseconds, with at most 4096 bytes.
        Assert.That(1000 * 4096 / request.Parameters[0].A, Is.Zero);
        Assert.That(request.Parameters[0].B, Is.EqualTo(1024));
    }

    [TestCase(0x40)]
    [TestCase(4096)]
    [TestCase(4097, Description = "more than a driver asks for")]
    [TestCase(65_536)]
    [TestCase(65_537)]
    [TestCase(1 << 20)]
    [TestCase((16 << 20) - 3)]
    public async Task GetEntropy_AnySize_FillsTheBuffer(int size)
    {
        byte[] first = new byte[size];
        byte[] second = new byte[size];
        TeeRequest request = Entropy(first);

        Assert.That(await _session.InvokeCommandAsync(request), Is.EqualTo(TeeResult.Success));
        Assert.That(await _session.InvokeCommandAsync(Entropy(second)), Is.EqualTo(TeeResult.Success));

        Assert.That(request.Parameters[0].Size, Is.EqualTo(size));

        // 32 bytes that are all zero, or the same twice, do not happen.
        Assert.That(first[^32..], Is.Not.EqualTo(new byte[32]));
        Assert.That(first, Is.Not.EqualTo(second));
        for (int offset = 0; offset + 4096 <= size; offset += 4096)
        {
            Assert.That(first.AsSpan(offset, 32).IndexOfAnyExcept((byte)0), Is.Not.Negative, $"nothing at {offset}");
        }
    }

    [Test]
    public async Task GetEntropy_Size0_Success() =>
        Assert.That((await _session.InvokeCommandAsync(Entropy([]))).Code, Is.EqualTo(TeeReturnCode.Success));

    // Six vCPUs may use the one session that Linux's driver has.
    [Test]
    public async Task GetEntropy_WhileAnotherVcpuIsInTheMiddleOfOne_IsServed()
    {
        using ManualResetEventSlim isInside = new();
        using ManualResetEventSlim mayGoOn = new();
        TeeRequest held = SoftwareTeeBench.Command(
            GetEntropy,
            TeeParameter.Reference(
                TeeParameterKind.MemoryInOut,
                new ArraySharedMemory(new byte[64])
                {
                    OnWrite = () =>
                    {
                        isInside.Set();
                        mayGoOn.Wait();
                    },
                },
                0,
                64));
        ThreadRunner<TeeResult> other = new(() => _session.InvokeCommandAsync(held));
        isInside.Wait();

        TeeResult result = await _session.InvokeCommandAsync(Entropy(new byte[64]));

        mayGoOn.Set();
        Assert.That((result.Code, (await other.Result).Code),
            Is.EqualTo((TeeReturnCode.Success, TeeReturnCode.Success)));
    }

    [Test]
    public async Task GetEntropy_GuestMemoryGone_BadParameters()
    {
        TeeRequest request = SoftwareTeeBench.Command(
            GetEntropy, TeeParameter.Reference(TeeParameterKind.MemoryInOut,
                new ArraySharedMemory(new byte[1 << 20]) { IsGone = true }, 0, 1 << 20));

        Assert.That((await _session.InvokeCommandAsync(request)).Code, Is.EqualTo(TeeReturnCode.BadParameters));
    }

    [TestCase(0ul)]
    [TestCase(64ul)]
    public async Task GetEntropy_NullReference_BadParameters(ulong size)
    {
        TeeRequest request =
            SoftwareTeeBench.Command(GetEntropy, TeeParameter.Reference(TeeParameterKind.MemoryInOut, null, 0, size));

        Assert.That((await _session.InvokeCommandAsync(request)).Code, Is.EqualTo(TeeReturnCode.BadParameters));
    }

    [TestCase(GetEntropy, TeeParameterKind.MemoryOutput)]
    [TestCase(GetInformation, TeeParameterKind.MemoryInOut)]
    public async Task InvokeCommand_OtherKindOfMemory_BadParameters(uint command, TeeParameterKind kind)
    {
        TeeRequest request =
            SoftwareTeeBench.Command(command, TeeParameter.Reference(kind, new ArraySharedMemory(new byte[64]), 0, 64));

        Assert.That((await _session.InvokeCommandAsync(request)).Code, Is.EqualTo(TeeReturnCode.BadParameters));
    }

    [TestCase(GetEntropy)]
    [TestCase(GetInformation)]
    public async Task InvokeCommand_NoParameters_BadParameters(uint command) =>
        Assert.That((await _session.InvokeCommandAsync(SoftwareTeeBench.Command(command))).Code,
            Is.EqualTo(TeeReturnCode.BadParameters));

    [Test]
    public async Task InvokeCommand_UnknownCommand_NotImplemented() =>
        Assert.That((await _session.InvokeCommandAsync(SoftwareTeeBench.Command(2))).Code,
            Is.EqualTo(TeeReturnCode.NotImplemented));

    [Test]
    public void Devices_Default_AnnouncesIt() =>
        Assert.That(_partition.Devices, Is.EqualTo([new TeeDevice(SoftwareTeeBackend.RandomNumberGeneratorUuid)]));

    [Test]
    public void Execution_OnlyTheGenerator_Inline()
    {
        Assert.That(_partition.Execution, Is.SameAs(TeeExecutionPolicy.Inline));
    }

    private static TeeRequest Entropy(byte[] buffer) => SoftwareTeeBench.Command(
        GetEntropy, TeeParameter.Reference(TeeParameterKind.MemoryInOut, new ArraySharedMemory(buffer), 0,
            (ulong)buffer.Length));
}
