using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Calls;

/// <summary>What a backend sees of a message and what the guest gets back, by each of the three calls and with both
/// kinds of guest memory.</summary>
[TestFixture(0x3200_0004u, true)]
[TestFixture(0x3200_0004u, false)]
[TestFixture(0x3200_0012u, true)]
[TestFixture(0x3200_0012u, false)]
[TestFixture(0x3200_0013u, true)]
[TestFixture(0x3200_0013u, false)]
[Parallelizable(ParallelScope.All)]
internal sealed class MessageTests(uint conduit, bool isMapped)
{
    private const ulong Cookie = 0xffff_0000_0938_5a80;
    private const ulong OtherCookie = 0x8000_0000_0000_0001;

    [Test]
    public async Task Invoke_ValuesOfEachKind_OutputsOnlyComeBack()
    {
        await using GuestBench bench = Create();
        uint session = bench.Open();
        List<(TeeParameterKind, ulong, ulong)> seen = [];
        bench.Backend.OnInvoke = request =>
        {
            seen.AddRange(Numbers(request));
            SetAll(request, 0xaaaa_0000_0000_0001, 0xbbbb_0000_0000_0002);
            return new(new TeeResult((TeeReturnCode)0x1234_5678, TeeOrigin.TrustedApplication));
        };
        (byte[] before, byte[] after) = Send(bench, GuestBench.Invocation(
            session, 77, new(1, 11, 12, 13), new(2, 21, 22, 23), new(3, 31, 32, 33), new(0, 41, 42, 43)));

        Assert.That(seen, Is.EqualTo(((TeeParameterKind, ulong, ulong)[])
        [
            (TeeParameterKind.ValueInput, 11, 12), (TeeParameterKind.ValueOutput, 21, 22),
            (TeeParameterKind.ValueInOut, 31, 32), (TeeParameterKind.None, 41, 42),
        ]));
        Assert.That(after, Is.EqualTo(before
            .WithResult(0x1234_5678, 4)
            .With64(MessageBytes.A(1), 0xaaaa_0000_0000_0001).With64(MessageBytes.B(1), 0xbbbb_0000_0000_0002)
            .With64(MessageBytes.A(2), 0xaaaa_0000_0000_0001).With64(MessageBytes.B(2), 0xbbbb_0000_0000_0002)));
    }

    [Test]
    public async Task Invoke_CommandAndSession_ReachTheBackend()
    {
        await using GuestBench bench = Create();
        uint session = bench.Open();
        (TeeOperation, uint, ITeeSession?) seen = default;
        bench.Backend.OnInvoke = request =>
        {
            seen = (request.Operation, request.CommandId, request.Session);
            return new(TeeResult.Success);
        };

        _ = bench.Driver.Invoke(session, 0xfedc_ba98);

        Assert.That(seen, Is.EqualTo((TeeOperation.InvokeCommand, 0xfedc_ba98, (ITeeSession)bench.Backend)));
    }

    [TestCase(0u, 0)]
    [TestCase(1u, 1)]
    [TestCase(3u, 3)]
    public async Task Invoke_FewerThanFourParameters_RestIsNone(uint count, int parameters)
    {
        await using GuestBench bench = Create();
        uint session = bench.Open();

        // A call with four before it: nothing of that one may be left.
        _ = bench.Driver.Invoke(session, 0, [.. Enumerable.Repeat(GuestParameter.ValueInOut(1, 2), 4)]);
        int kinds = -1;
        bench.Backend.OnInvoke = request =>
        {
            kinds = Numbers(request).Count(parameter => parameter.Item1 != TeeParameterKind.None);
            return new(TeeResult.Success);
        };

        GuestMessage answer =
            bench.Driver.Invoke(session, 0, [.. Enumerable.Repeat(GuestParameter.ValueInOut(1, 2), parameters)]);

        Assert.That((answer.ReturnCode, kinds), Is.EqualTo((0u, (int)count)));
    }

    [Test]
    public async Task Invoke_RegisteredMemoryOfEachKind_SizesAndContentsOfOutputsComeBack()
    {
        await using GuestBench bench = Create();
        uint session = bench.Open();
        ulong[] first = bench.Share(Cookie, 3, 0x9d);
        ulong[] second = bench.Share(OtherCookie, 1);

        // Bytes at the first scattered border of the first buffer: its offset 0xf63 is the second page's first byte.
        bench.Driver.Write<byte>(first[0] + 0xffc, [1, 2, 3, 4]);
        bench.Driver.Write<byte>(first[1], [5, 6, 7, 8]);
        List<(TeeParameterKind, ulong, ulong)> seen = [];
        byte[] read = new byte[8];
        bool[] written = [];
        bench.Backend.OnInvoke = request =>
        {
            seen.AddRange(References(request));
            ReadOnlySpan<TeeParameter> parameters = request.Parameters;
            Assert.That(parameters[0].TryRead(0, read));
            written = [parameters[0].TryWrite(0, read), parameters[1].TryWrite(0, [0xee, 0xff]),
                parameters[2].TryWrite(15, [0xdd])];
            request.SetSize(0, 1);
            request.SetSize(1, 2);
            request.SetSize(2, 16);
            return new(TeeResult.Success);
        };

        (byte[] before, byte[] after) = Send(bench, GuestBench.Invocation(
            session,
            0,
            GuestParameter.RegisteredIn(0xf5f, 8, Cookie),
            GuestParameter.RegisteredOut(0x1f62, 0x10, Cookie),
            GuestParameter.RegisteredInOut(0xff0, 0x10, OtherCookie)));

        Assert.That(seen, Is.EqualTo(((TeeParameterKind, ulong, ulong)[])
        [
            (TeeParameterKind.MemoryInput, 0xf5f, 8), (TeeParameterKind.MemoryOutput, 0x1f62, 0x10),
            (TeeParameterKind.MemoryInOut, 0xff0, 0x10), (TeeParameterKind.None, 0, 0),
        ]));
        Assert.That(read, Is.EqualTo((byte[])[1, 2, 3, 4, 5, 6, 7, 8]));
        Assert.That(written, Is.EqualTo((bool[])[false, true, true]));
        Assert.That(Bytes(bench, first[1] + 0xfff, 1).Concat(Bytes(bench, first[2], 1)),
            Is.EqualTo((byte[])[0xee, 0xff]));
        Assert.That(Bytes(bench, second[0] + 0xfff, 1), Is.EqualTo((byte[])[0xdd]));
        Assert.That(after,
            Is.EqualTo(before.WithResult(0, 4).With64(MessageBytes.B(1), 2).With64(MessageBytes.B(2), 16)));
    }

    [TestCase(0xffff_0010u, 0x2000ul)]
    [TestCase(0xffff_0010u, 0xffff_ffff_fffful)]
    [TestCase(0xffff_0006u, 7ul)]
    public async Task Invoke_OutputsAndAnError_SizeComesBackWhateverTheCode(uint code, ulong size)
    {
        await using GuestBench bench = Create();
        uint session = bench.Open();
        _ = bench.Share(Cookie, 1);
        bench.Backend.OnInvoke = request =>
        {
            request.SetSize(0, size);
            return new(new TeeResult((TeeReturnCode)code, TeeOrigin.Tee));
        };

        (byte[] before, byte[] after) =
            Send(bench, GuestBench.Invocation(session, 0, GuestParameter.RegisteredOut(0, 0x1000, Cookie)));

        Assert.That(after, Is.EqualTo(before.WithResult(code, 3).With64(MessageBytes.B(0), size)));
    }

    [TestCase(0x9u, TeeParameterKind.MemoryInput)]
    [TestCase(0xau, TeeParameterKind.MemoryOutput)]
    [TestCase(0xbu, TeeParameterKind.MemoryInOut)]
    public async Task Invoke_ContiguousTemporaryMemory_IsSharedForTheCall(uint type, TeeParameterKind kind)
    {
        await using GuestBench bench = Create();
        uint session = bench.Open();
        OpTeeMediator.Vmm.OpTeeGuestStatus idle = bench.Guest.Status;

        // The last byte of one page and all of the next but one byte.
        ulong[] pages = bench.Driver.AllocatePages(2, 1);
        bench.Driver.Write<byte>(pages[1], [0x42]);
        (TeeParameterKind Kind, ulong Size, ulong Capacity, ulong Whole, bool IsTemporary, byte Second,
            int? Pages) seen = default;
        bench.Backend.OnInvoke = request =>
        {
            ref readonly TeeParameter parameter = ref request.Parameters[0];
            Span<byte> two = stackalloc byte[2];
            Assert.That(parameter.TryRead(0, two));
            seen = (parameter.Kind, parameter.Size, parameter.Capacity, parameter.Memory!.Size,
                parameter.Memory.IsTemporary, two[1], bench.Guest.Status.SharedPages - idle.SharedPages);
            request.SetSize(0, 5);
            return new(TeeResult.Success);
        };

        (byte[] before, byte[] after) = Send(bench,
            GuestBench.Invocation(session, 0, GuestParameter.Temporary(type, pages[0] + 0xfff, 0x1000, 99)));

        Assert.That(seen, Is.EqualTo((kind, 0x1000ul, 0x1000ul, 0x1000ul, true, (byte)0x42, 2)));
        Assert.That(after, Is.EqualTo(kind == TeeParameterKind.MemoryInput ? before.WithResult(0, 4)
            : before.WithResult(0, 4).With64(MessageBytes.B(0), 5)));
        Assert.That(bench.Guest.Status, Is.EqualTo(idle));
        Assert.That(bench.Ram.TryDiscard(new GuestRange(pages[0], 0x2000)), "The pages should be unpinned.");
    }

    [Test]
    public async Task Invoke_ScatteredTemporaryMemory_IsSharedForTheCall()
    {
        await using GuestBench bench = Create();
        uint session = bench.Open();
        OpTeeMediator.Vmm.OpTeeGuestStatus idle = bench.Guest.Status;
        ulong[] pages = bench.Driver.AllocatePages(3, 3);
        ulong list = bench.Driver.WritePageList(pages);
        bench.Driver.Write<byte>(pages[2], [0x43]);
        byte[] read = new byte[1];
        bench.Backend.OnInvoke = request => new(request.Parameters[3].TryRead(0x2000 - 0x10, read) ? TeeResult.Success
            : TeeResult.CommunicationFailure);

        (byte[] before, byte[] after) = Send(bench, GuestBench.Invocation(
            session, 0, default, default, default,
            GuestParameter.Temporary(0x9 | OpTeeMessage.AttributeNonContiguous, list + 0x10, 0x2100, 99)));

        Assert.That(after, Is.EqualTo(before.WithResult(0, 4)));
        Assert.That(read, Is.EqualTo((byte[])[0x43]));
        Assert.That(bench.Guest.Status, Is.EqualTo(idle));
    }

    [TestCase(0x9u, true, 0ul)]
    [TestCase(0xau, true, 0ul)]
    [TestCase(0xau, false, 0ul)]
    [TestCase(0xbu, true, 0x1000ul)]
    [TestCase(0x20au, true, 0ul)]
    public async Task Invoke_NullReference_IsUnderstoodWhetherAgreedOrNot(uint attributes, bool isAgreed, ulong size)
    {
        await using GuestBench bench =
            Create(isAgreed ? OpTeeCapabilities.NullMemoryReference : OpTeeCapabilities.None);
        uint session = bench.Open();
        (bool IsMemory, TeeSharedMemory? Memory, ulong Size, ulong Capacity) seen = default;
        bool reads = true;
        bench.Backend.OnInvoke = request =>
        {
            ref readonly TeeParameter parameter = ref request.Parameters[0];
            seen = (parameter.IsMemory, parameter.Memory, parameter.Size, parameter.Capacity);
            reads = parameter.TryRead(0, []);
            request.SetSize(0, 0x30);
            return new(new TeeResult(TeeReturnCode.ShortBuffer, TeeOrigin.TrustedApplication));
        };

        (byte[] before, byte[] after) =
            Send(bench, GuestBench.Invocation(session, 0, new GuestParameter(attributes, 0, size, 0)));

        Assert.That(seen, Is.EqualTo((true, (TeeSharedMemory?)null, 0ul, 0ul)));
        Assert.That(reads, Is.False);
        byte[] result = before.WithResult(0xffff_0010, 4);
        Assert.That(after, Is.EqualTo((attributes & 2) != 0 ? result.With64(MessageBytes.B(0), 0x30) : result));
    }

    [Test]
    public async Task Invoke_BufferAcrossRegions_IsOneBuffer()
    {
        await using GuestBench bench = Create();
        uint session = bench.Open();
        ulong last = GuestBench.SecondRegion - OpTeeMessage.PageSize;
        _ = bench.Driver.Register([last, GuestBench.SecondRegion], 0, 0x2000, Cookie);
        bench.Driver.Write<byte>(GuestBench.SecondRegion - 2, [1, 2, 3, 4]);
        byte[] read = new byte[4];
        bench.Backend.OnInvoke = request =>
        {
            bool isRead = request.Parameters[0].TryRead(0xffe, read) && request.Parameters[1].TryRead(0, read);
            return new(isRead && request.Parameters[0].TryWrite(0xfff, [8, 9]) ? TeeResult.Success
                : TeeResult.CommunicationFailure);
        };

        GuestMessage answer = bench.Driver.Invoke(
            session, 0, GuestParameter.RegisteredInOut(0, 0x2000, Cookie),
            GuestParameter.Temporary(0x9, GuestBench.SecondRegion - 2, 4, 0));

        Assert.That(answer.ReturnCode, Is.Zero);
        Assert.That(read, Is.EqualTo((byte[])[1, 2, 3, 4]));
        Assert.That(Bytes(bench, GuestBench.SecondRegion - 2, 4), Is.EqualTo((byte[])[1, 8, 9, 4]));
    }

    [Test]
    public async Task OpenSession_Success_SessionIsWrittenAndParametersFollowTheMeta()
    {
        await using GuestBench bench = Create();
        TeeParameterKind[] seen = [];
        bench.Backend.OnOpen = request =>
        {
            seen = [.. Numbers(request).Select(parameter => parameter.Item1)];
            SetAll(request, 5, 6);
            return new(TeeResult.Success);
        };

        (byte[] before, byte[] after) = Send(bench,
            FakeDriver.Opening(GuestBench.Application, default, 0, default, GuestParameter.ValueInOut(1, 2)));

        uint session = BitConverter.ToUInt32(after, MessageBytes.Session);
        Assert.That(seen, Is.EqualTo((TeeParameterKind[])[0, TeeParameterKind.ValueInOut, 0, 0]));
        Assert.That(session, Is.Not.Zero);
        Assert.That(after, Is.EqualTo(before
            .WithResult(0, 4).With32(MessageBytes.Session, session).With64(MessageBytes.A(3), 5)
            .With64(MessageBytes.B(3), 6)));
        Assert.That(bench.Driver.Invoke(session, 0).ReturnCode, Is.Zero);
    }

    [Test]
    public async Task OpenSession_Refused_SessionIsZeroAndNothingIsKept()
    {
        await using GuestBench bench = Create();
        OpTeeMediator.Vmm.OpTeeGuestStatus idle = bench.Guest.Status;
        bench.Backend.OnOpen = request =>
        {
            SetAll(request, 5, 6);
            return new(new TeeResult(TeeReturnCode.AccessDenied, TeeOrigin.TrustedApplication));
        };

        (byte[] before, byte[] after) = Send(bench, FakeDriver.Opening(GuestBench.Application, default, 0,
            GuestParameter.ValueOut()) with { Session = 0x7777 });

        Assert.That(after, Is.EqualTo(before
            .WithResult(0xffff_0001, 4).With32(MessageBytes.Session, 0).With64(MessageBytes.A(2), 5)
            .With64(MessageBytes.B(2), 6)));
        Assert.That(bench.Guest.Status, Is.EqualTo(idle));
    }

    [Test]
    public async Task CloseSession_Open_ClosesItForGood()
    {
        await using GuestBench bench = Create();
        OpTeeMediator.Vmm.OpTeeGuestStatus idle = bench.Guest.Status;
        uint session = bench.Open();

        (byte[] before, byte[] after) = Send(bench, GuestBench.Closing(session));

        Assert.That(after, Is.EqualTo(before.WithResult(0, 3)));
        Assert.That((bench.Backend.OpenSessions, bench.Guest.Status), Is.EqualTo((0, idle)));
        Assert.That(bench.Driver.Invoke(session, 0).ReturnCode, Is.EqualTo((uint)TeeReturnCode.BadParameters));
        Assert.That(bench.Driver.CloseSession(session).ReturnCode, Is.EqualTo((uint)TeeReturnCode.BadParameters));
    }

    [Test]
    public async Task Cancel_OpenSession_SucceedsAndWritesTheResultOnly()
    {
        await using GuestBench bench = Create();
        uint session = bench.Open();

        (byte[] before, byte[] after) =
            Send(bench, new GuestMessage(OpTeeMessage.CommandCancel) { Session = session, CancelId = 3 });

        Assert.That(after, Is.EqualTo(before.WithResult(0, 3)));
        Assert.That(bench.Backend.Cancellations, Is.Zero, "There was no call to cancel.");
    }

    [Test]
    public async Task Call_MessageInTheLastPageOfRam_IsAnswered()
    {
        await using GuestBench bench = Create();
        uint session = bench.Open();
        ulong page = GuestBench.SecondRegion + GuestBench.SecondLength - OpTeeMessage.PageSize;
        bench.Driver.WriteMessage(page, GuestBench.Invocation(session, 0));

        Assert.That(bench.Driver.Call(OpTeeSmc.CallWithRpcArgument, page >> 32, page).X0, Is.Zero);
        Assert.That(bench.Driver.ReadMessage(page, 0).ReturnCode, Is.Zero);
    }

    private static void SetAll(TeeRequest request, ulong a, ulong b)
    {
        for (int index = 0; index < TeeRequest.ParameterCount; index++)
        {
            request.SetValue(index, a, b);
        }
    }

    private static (TeeParameterKind, ulong, ulong)[] Numbers(TeeRequest request) =>
        [.. request.Parameters.ToArray().Select(parameter => (parameter.Kind, parameter.A, parameter.B))];

    private static (TeeParameterKind, ulong, ulong)[] References(TeeRequest request) =>
        [.. request.Parameters.ToArray()
            .Select(parameter => (parameter.Kind, parameter.Offset, parameter.IsMemory ? parameter.Size : 0))];

    private static byte[] Bytes(GuestBench bench, ulong address, int count)
    {
        byte[] bytes = new byte[count];
        bench.Driver.Read<byte>(address, bytes);
        return bytes;
    }

    private GuestBench Create(OpTeeCapabilities capabilities = OpTeeCapabilities.None)
    {
        GuestBench bench = new(new() { Capabilities = OpTeeCapabilities.DynamicSharedMemory | capabilities },
            wrap: memory => isMapped ? memory : new PlainGuestMemory(memory));
        if (conduit == OpTeeSmc.CallWithRegisteredArgument)
        {
            _ = bench.Driver.RegisterMessagePage();
        }

        bench.Driver.Conduit = conduit;
        return bench;
    }

    /// <summary>Sends a message; gives its whole page before and after.</summary>
    private static (byte[] Before, byte[] After) Send(GuestBench bench, GuestMessage message)
    {
        ulong page = bench.Driver.MessagePage;
        byte[] before = MessageBytes.Write(bench.Driver, page, message);
        Assert.That(bench.Driver.Finish(bench.Driver.Start(page, FakeDriver.MessageCookie, 0)),
            Is.EqualTo(OpTeeSmc.ReturnOk));
        return (before, MessageBytes.Read(bench.Driver, page));
    }
}
