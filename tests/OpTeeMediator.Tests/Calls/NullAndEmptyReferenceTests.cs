using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Calls;

/// <summary>References to no memory: NULL in every form that drivers use, and buffers of no bytes, as
/// OP-TEE takes them.</summary>
[Parallelizable(ParallelScope.All)]
internal sealed class NullAndEmptyReferenceTests
{
    private const ulong Cookie = 0xffff_0000_0938_5a80;
    private const uint BadParameters = 0xffff_0006;
    private const uint ShortBuffer = 0xffff_0010;

    private static readonly Guid Enumeration = new("7011a688-ddde-4053-a5a9-7b3c4ddf13b8");

    // U-Boot asks with CALL_WITH_ARG and a registered reference, Linux with a temporary one.
    [TestCase(OpTeeMessage.TypeRegisteredOutput)]
    [TestCase(OpTeeMessage.TypeTemporaryOutput)]
    [TestCase(OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous)]
    public async Task DeviceEnumeration_NullReference_AnswersTheSizeNeeded(uint attributes)
    {
        await using GuestBench bench =
            new(backend: new ScriptedBackend { Devices = [new TeeDevice(Guid.NewGuid(), TeeDeviceDependency.None)] });
        bench.Driver.Conduit = OpTeeSmc.CallWithArgument;
        uint session = bench.Driver.OpenSession(Enumeration).Session;

        GuestMessage answer = bench.Driver.Invoke(session, 0, new GuestParameter(attributes, 0, 0, 0));

        Assert.That((answer.ReturnCode, answer.Parameters[0].B), Is.EqualTo((ShortBuffer, 16ul)));
    }

    [Test]
    public async Task Invoke_NullReference_TheBackendSeesNull(
        [Values(0x5u, 0x6u, 0x7u, 0x9u, 0xau, 0xbu, 0x209u, 0x20au, 0x20bu, 0x40au, 0x8000_0009u)] uint attributes)
    {
        await using GuestBench bench = new();
        (TeeParameterKind Kind, TeeSharedMemory? Memory, ulong Size)? seen = null;
        bench.Backend.OnInvoke = request =>
        {
            seen = (request.Parameters[0].Kind, request.Parameters[0].Memory, request.Parameters[0].Capacity);
            return new ValueTask<TeeResult>(TeeResult.Success);
        };

        GuestMessage answer = bench.Driver.Invoke(bench.Open(), 0, new GuestParameter(attributes, 0, 0, 0));

        Assert.That(answer.ReturnCode, Is.Zero);
        Assert.That(seen, Is.EqualTo(((TeeParameterKind)(((attributes & 3) - 1) + (uint)TeeParameterKind.MemoryInput),
            (TeeSharedMemory?)null, 0ul)));
    }

    [TestCase(0ul, 1ul)]
    [TestCase(8ul, 0ul)]
    [TestCase(0ul, ulong.MaxValue)]
    public async Task Invoke_Cookie0WithOffsetOrSize_BadParameters(ulong offset, ulong size)
    {
        await using GuestBench bench = new();

        GuestMessage answer = bench.Driver.Invoke(bench.Open(), 0, GuestParameter.RegisteredOut(offset, size, 0));

        Assert.That(answer.ReturnCode, Is.EqualTo(BadParameters));
    }

    [Test]
    public async Task Invoke_Cookie0IsRegistered_IsThatBuffer()
    {
        await using GuestBench bench = new();
        _ = bench.Share(0, 1);
        TeeSharedMemory? seen = null;
        bench.Backend.OnInvoke = request =>
        {
            seen = request.Parameters[0].Memory;
            return new ValueTask<TeeResult>(TeeResult.Success);
        };

        _ = bench.Driver.Invoke(bench.Open(), 0, GuestParameter.RegisteredOut(0, 0, 0));

        Assert.That(seen?.Size, Is.EqualTo(0x1000));
    }

    [TestCase(OpTeeMessage.TypeTemporaryInput, 0ul)]
    [TestCase(OpTeeMessage.TypeTemporaryOutput, 0x40ul)]
    [TestCase(OpTeeMessage.TypeTemporaryInOut, 0xffful)]
    [TestCase(OpTeeMessage.TypeTemporaryInOut | OpTeeMessage.AttributeNonContiguous, 0x40ul)]
    public async Task Invoke_TemporaryReferenceOfSize0_Accepted(uint attributes, ulong offset)
    {
        await using GuestBench bench = new();
        ulong page = bench.Driver.AllocatePage();
        bench.Driver.Write<ulong>(page, [bench.Driver.AllocatePage()]);
        ulong? seen = null;
        bench.Backend.OnInvoke = request =>
        {
            seen = request.Parameters[0].Memory?.Size;
            return new ValueTask<TeeResult>(TeeResult.Success);
        };

        GuestMessage answer = bench.Driver.Invoke(bench.Open(), 0, new GuestParameter(attributes, page + offset, 0, 0));

        Assert.That((answer.ReturnCode, seen), Is.EqualTo((0u, (ulong?)0)));
        Assert.That(bench.Guest.Status, Is.EqualTo(new OpTeeGuestStatus(0, 1, 0, 0)));
    }

    // The page that its one byte would be in has to be RAM.
    [TestCase(OpTeeMessage.TypeTemporaryInput, 0x1000_0000ul)]
    [TestCase(OpTeeMessage.TypeTemporaryInput, 0xffff_ffff_ffff_f000ul)]
    [TestCase(OpTeeMessage.TypeTemporaryInput | OpTeeMessage.AttributeNonContiguous, 0x1000_0040ul)]
    [TestCase(OpTeeMessage.TypeTemporaryInput | OpTeeMessage.AttributeNonContiguous, GuestBench.FreePages,
        Description = "size 0 at offset 0 is no page")]
    public async Task Invoke_TemporaryReferenceOfSize0OutsideRam_BadParameters(uint attributes, ulong address)
    {
        await using GuestBench bench = new();

        GuestMessage answer = bench.Driver.Invoke(bench.Open(), 0, new GuestParameter(attributes, address, 0, 0));

        Assert.That(answer.ReturnCode, Is.EqualTo(BadParameters));
    }

    [TestCase(1ul)]
    [TestCase(0x40ul)]
    [TestCase(0xffful)]
    public async Task RegisterShm_Size0AtAnOffset_RegistersOnePage(ulong offset)
    {
        await using GuestBench bench = new();

        Assert.That(bench.Driver.Register([bench.Driver.AllocatePage()], offset, 0, Cookie).ReturnCode, Is.Zero);

        Assert.That(bench.Guest.Status, Is.EqualTo(new OpTeeGuestStatus(0, 0, 1, 1)));
        Assert.That(
            bench.Driver.Invoke(bench.Open(), 0, GuestParameter.RegisteredIn(0, 0, Cookie)).ReturnCode, Is.Zero);
        Assert.That(bench.Driver.Unregister(Cookie).ReturnCode, Is.Zero);
    }

    [Test]
    public async Task CallWithRegisteredArgument_BufferOfSize0_BadAddress()
    {
        await using GuestBench bench = new();
        _ = bench.Driver.Register([bench.Driver.AllocatePage()], 0x40, 0, Cookie);

        Assert.That(bench.Driver.Call(OpTeeSmc.CallWithRegisteredArgument, Cookie >> 32, Cookie, 0).X0,
            Is.EqualTo(OpTeeSmc.ReturnBadAddress));
    }
}
