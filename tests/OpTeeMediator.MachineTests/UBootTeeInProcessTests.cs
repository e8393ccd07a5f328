using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Machines.Partitioned;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.MachineTests;

/// <summary>U-Boot with a TEE in this process: its random number generator, and an
/// application that makes RPCs.</summary>
[TestFixture]
internal sealed class UBootTeeInProcessTests() : UBootFixture(hasSecureWorld: false)
{
    private const uint RpmbGetDeviceInformation = 1;
    private const uint RpmbUnknownRequest = 7;

    private static readonly RecordedRpc Allocated = new(OpTeeRpc.AllocateSharedMemory, TeeReturnCode.Success);
    private static readonly RecordedRpc Freed = new(OpTeeRpc.FreeSharedMemory, TeeReturnCode.Success);

    protected override string Subject => "`SoftwareTeeBackend`, partitioned machine";

    protected override OpTeeGuestStatus Status => ((OpTeeGuest)Recording.Inner).Status;

    protected override ISmcHandler CreateMediator() =>
        new OpTeeGuest(Machine.Memory,
            new SoftwareTeeBackend(new SoftwareTeeOptions().Add(RpcApplication.Manifest, () => new RpcApplication())));

    [Test]
    public async Task Rng_ReadSeveralTimes_PrintsDifferentBytes() => await AssertThatRngPrintsOtherBytesEachTimeAsync();

    [TestCase(RpcApplication.UseKernelMemory, 1)]
    [TestCase(RpcApplication.UseKernelMemory, 0x3001)]
    [TestCase(RpcApplication.UseSupplicantMemory, 0x3001)]
    public async Task RpcSharedMemory_AllocatedByUBoot_CarriesTheClientsBytes(uint command, int size)
    {
        (string output, RecordedRpc[] rpcs) = await CallAsync(RpcApplication.Manifest.Uuid, command, 0, size);

        Assert.That(output, Does.Contain("invoke: error 0, code 00000000"));
        Assert.That(output, Does.Contain($"buffer: size {size:x}, digest {DigestOfInvertedPattern(size):x8}"));
        Assert.That(rpcs, Is.EqualTo([Allocated, Freed]));
    }

    // U-Boot has no MMC: it reads the request in the memory that it shares, and refuses each
    // one for a reason of its own.
    [TestCase(RpmbGetDeviceInformation, TeeReturnCode.ItemNotFound)]
    [TestCase(RpmbUnknownRequest, TeeReturnCode.BadParameters)]
    public async Task RpcRpmb_RequestInSharedMemory_IsReadAndRefused(uint request, TeeReturnCode answer)
    {
        (string output, RecordedRpc[] rpcs) =
            await CallAsync(RpcApplication.Manifest.Uuid, RpcApplication.RequestRpmb, request, 0);

        Assert.That(output, Does.Contain($"value: {request:x} {(uint)answer:x}"));
        Assert.That(rpcs, Is.EqualTo([Allocated, Allocated, new(OpTeeRpc.Rpmb, answer), Freed, Freed]));
    }

    [Test]
    public async Task RpcGetTime_UnknownToUBoot_ReturnsNotImplemented()
    {
        (string output, RecordedRpc[] rpcs) =
            await CallAsync(RpcApplication.Manifest.Uuid, RpcApplication.GetTime, 0, 0);

        Assert.That(output, Does.Contain($"value: 0 {(uint)TeeReturnCode.NotImplemented:x}"));
        Assert.That(rpcs, Is.EqualTo([new RecordedRpc(OpTeeRpc.GetTime, TeeReturnCode.NotImplemented)]));
    }

    [Test]
    public async Task InvokeCommand_ApplicationThatWaits_ReturnsSuccess()
    {
        (string output, _) = await CallAsync(RpcApplication.Manifest.Uuid, RpcApplication.Wait, 300, 0);

        Assert.That(output, Does.Contain("invoke: error 0, code 00000000").And.Contain("close: error 0"));
    }

    [Test]
    public async Task OpenSession_UnknownApplication_ReturnsItemNotFound()
    {
        (string output, RecordedRpc[] rpcs) = await CallAsync(Unknown, 0, 0, 0);

        Assert.That(output, Does.Contain($"open: error 0, code {(uint)TeeReturnCode.ItemNotFound:x}"));
        Assert.That(rpcs, Is.Empty);
    }
}
