using System.Text;
using KvmVmm.Tee;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Samples;

/// <summary>The sample VMM's application that calls its guest.</summary>
internal sealed class GuestApplicationTests
{
    private MemfdGuestMemory _ram = null!;
    private OpTeeGuest _guest = null!;
    private FakeDriver _driver = null!;
    private FileSupplicant _supplicant = null!;
    private uint _session;

    [SetUp]
    public void SetUp()
    {
        _ram = MemfdGuestMemory.Create(new GuestRange(GuestBench.RamStart, GuestBench.RamLength));
        _guest = new OpTeeGuest(
            _ram,
            new SoftwareTeeBackend(
                new SoftwareTeeOptions().Add(
                    new TrustedApplicationManifest(GuestApplication.Uuid), () => new GuestApplication())));
        _driver = new FakeDriver(_guest, _ram, new GuestRange(GuestBench.RamStart, GuestBench.RamLength));
        RpcServices services = new(_driver);
        _supplicant = new FileSupplicant(services, _ram);
        services.OnSupplicant = _supplicant.Serve;
        _driver.OnRpc = services.Serve;
        _session = _driver.OpenSession(GuestApplication.Uuid).Session;
    }

    [TearDown]
    public async Task TearDown()
    {
        Assert.That(_supplicant.Open, Is.Zero);
        await _guest.DisposeAsync();
        Assert.That(_guest.Status, Is.EqualTo(GuestBench.Nothing));
        _ram.Dispose();
    }

    [Test]
    public void GetTime_GuestAnswers_ReturnsSuccess()
    {
        GuestMessage answer = _driver.Invoke(_session, GuestApplication.GetTime, GuestParameter.ValueOut());

        Assert.That(
            (answer.ReturnCode, answer.Parameters[0].A, answer.Parameters[0].B),
            Is.EqualTo((0u, 1_000_000_000ul, 5_000_000ul)));
    }

    [TestCase(1u, 0u, 0u)]
    [TestCase(65536u, 1u, 0u)]
    [TestCase(65537u, 1u, 0xffff_0006u)]
    [TestCase(0u, 1u, 0xffff_0006u)]
    [TestCase(1u, 2u, 0xffff_0006u)]
    public void ShareMemory_SupplicantAndKernel_ReturnsSuccess(uint size, uint kind, uint expected)
    {
        GuestMessage answer =
            _driver.Invoke(_session, GuestApplication.ShareMemory, GuestParameter.ValueInOut(size, kind));

        Assert.That((answer.ReturnCode, answer.Parameters[0].A), Is.EqualTo((expected, (ulong)size)));
    }

    [Test]
    public void WriteReadRemove_OneFile_ReturnsTheContent()
    {
        GuestParameter name = Memory(OpTeeMessage.TypeTemporaryInput, [.. Encoding.UTF8.GetBytes("note.txt"), 0]);
        byte[] content = Encoding.UTF8.GetBytes("what the guest keeps");
        GuestParameter target = Memory(OpTeeMessage.TypeTemporaryOutput, new byte[100]);

        uint written = _driver.Invoke(
            _session, GuestApplication.WriteFile, name, Memory(OpTeeMessage.TypeTemporaryInput, content)).ReturnCode;
        GuestMessage answer = _driver.Invoke(_session, GuestApplication.ReadFile, name, target);
        byte[] read = new byte[answer.Parameters[1].B];
        _driver.Read(target.A, read.AsSpan());
        IEnumerable<string> files = [.. _supplicant.Files.Keys];
        uint removed = _driver.Invoke(_session, GuestApplication.RemoveFile, name).ReturnCode;
        uint missing = _driver.Invoke(_session, GuestApplication.ReadFile, name, target).ReturnCode;

        Assert.That((written, answer.ReturnCode, removed, missing), Is.EqualTo((0u, 0u, 0u, 0xffff_0008u)));
        Assert.That(read, Is.EqualTo(content));
        Assert.That(files, Is.EqualTo(["note.txt"]));
    }

    [Test]
    public void WaitAndCompute_TimeIsOver_Success(
        [Values(GuestApplication.Wait, GuestApplication.Compute)] uint command) =>
        Assert.That(_driver.Invoke(_session, command, GuestParameter.ValueIn(3, 0)).ReturnCode, Is.Zero);

    [Test]
    public void WaitAndCompute_Cancelled_Cancel([Values(GuestApplication.Wait, GuestApplication.Compute)] uint command)
    {
        ulong page = _driver.AllocatePage();
        _driver.WriteMessage(
            page,
            GuestBench.Invocation(_session, command, GuestParameter.ValueIn(uint.MaxValue, 0)) with { CancelId = 7 });
        SmcRegisters registers = _driver.Start(page, 0, 0);

        _ = _driver.Cancel(_session, cancelId: 7);
        _ = _driver.Finish(registers);

        Assert.That(_driver.ReadMessage(page, 1).ReturnCode, Is.EqualTo((uint)TeeReturnCode.Cancel));
    }

    [Test]
    public void AnyCommand_WrongParameters_BadParameters() =>
        Assert.That(
            _driver.Invoke(_session, GuestApplication.GetTime, GuestParameter.ValueIn(1, 2)).ReturnCode,
            Is.EqualTo((uint)TeeReturnCode.BadParameters));

    private GuestParameter Memory(uint type, byte[] content)
    {
        ulong page = _driver.AllocatePage();
        _driver.Write<byte>(page, content);
        return GuestParameter.Temporary(type, page, (ulong)content.Length, 0);
    }
}
