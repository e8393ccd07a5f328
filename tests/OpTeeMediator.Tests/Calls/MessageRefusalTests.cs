using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Calls;

/// <summary>Messages that are refused in their return code, as real OP-TEE 4.5 does; nothing is kept, and only the
/// result is written.</summary>
[Parallelizable(ParallelScope.All)]
internal sealed class MessageRefusalTests
{
    private const uint BadParameters = 0xffff_0006;
    private const uint OutOfMemory = 0xffff_000c;
    private const uint Security = 0xffff_000f;

    /// <summary>Two pages are registered with it; the buffer is one byte short of them.</summary>
    private const ulong Cookie = 0xffff_0000_0938_5a80;
    private const ulong Size = 0x1fff;

    [TestCaseSource(nameof(Invocations))]
    public async Task Invoke_WrongParameter_Refused(GuestParameter[] parameters, uint code)
    {
        await using GuestBench bench = new();
        bench.Backend.OnInvoke = _ => throw new AssertionException("The backend should not see it.");
        uint session = bench.Open();
        _ = bench.Share(Cookie, 2, 1);

        Assert.That(Refusal(bench, GuestBench.Invocation(session, 0, parameters)), Is.EqualTo(code));
    }

    [TestCaseSource(nameof(Openings))]
    public async Task OpenSession_WrongMessage_Refused(GuestMessage message, uint code)
    {
        await using GuestBench bench = new();
        bench.Backend.OnOpen = _ => throw new AssertionException("The backend should not see it.");

        Assert.That(Refusal(bench, message with { Session = 0 }), Is.EqualTo(code));
    }

    [TestCase(0u)]
    [TestCase(1u)]
    [TestCase(2u, Description = "the next one")]
    [TestCase(0x1_0001u, Description = "another generation")]
    [TestCase(0xffff_ffffu)]
    public async Task Invoke_UnknownSession_BadParameters(uint difference)
    {
        await using GuestBench bench = new();
        uint session = bench.Open();

        Assert.That(Refusal(bench, GuestBench.Invocation(
            unchecked((session + difference) | (difference == 0 ? 0x8000_0000 : 0)), 0)), Is.EqualTo(BadParameters));
    }

    [TestCase(OpTeeMessage.CommandCloseSession)]
    [TestCase(OpTeeMessage.CommandCancel)]
    public async Task CloseAndCancel_UnknownSessionOrParameters_BadParameters(uint command)
    {
        await using GuestBench bench = new();
        uint session = bench.Open();

        Assert.That(Refusal(bench, new GuestMessage(command) { Session = session + 1 }), Is.EqualTo(BadParameters));
        Assert.That(Refusal(bench, new GuestMessage(command) { Session = 0 }), Is.EqualTo(BadParameters));
        Assert.That(Refusal(bench, new GuestMessage(command, default(GuestParameter)) { Session = session }),
            Is.EqualTo(BadParameters));
        Assert.That(bench.Driver.Invoke(session, 0).ReturnCode, Is.Zero, "The session should be untouched.");
    }

    private static IEnumerable<TestCaseData> Invocations()
    {
        yield return Invocation("five parameters", BadParameters,
            [.. Enumerable.Repeat(GuestParameter.ValueIn(1, 2), 5)]);
        yield return Invocation("six parameters", BadParameters, [.. Enumerable.Repeat(GuestParameter.None, 6)]);
        foreach (uint type in (uint[])[0x4, 0x8, 0xc, 0xd, 0xe, 0xf, 0x10, 0x80, 0xff])
        {
            yield return Invocation($"unknown type {type:x}", BadParameters, new GuestParameter(type, 1, 2, Cookie));
        }

        foreach (uint type in (uint[])[0x0, 0x1, 0x3, 0x5, 0x9])
        {
            yield return Invocation($"META on type {type:x}", BadParameters,
                new GuestParameter(type | OpTeeMessage.AttributeMeta, 0, 1, Cookie));
        }

        yield return Invocation("unknown cookie", BadParameters, GuestParameter.RegisteredIn(0, 1, Cookie + 1));
        yield return Invocation("cookie 0", BadParameters, GuestParameter.RegisteredIn(0, 1, 0));
        yield return Invocation("size beyond the buffer", Security, GuestParameter.RegisteredIn(0, Size + 1, Cookie));
        yield return Invocation("offset and size beyond the buffer", Security,
            GuestParameter.RegisteredIn(Size, 1, Cookie));
        yield return Invocation("offset beyond the buffer", Security, GuestParameter.RegisteredIn(Size + 1, 0, Cookie));
        yield return Invocation("offset and size overflow", Security,
            GuestParameter.RegisteredInOut(0x1000, ulong.MaxValue - 0xfff, Cookie));
        yield return Invocation("offset overflows", Security, GuestParameter.RegisteredOut(ulong.MaxValue, 1, Cookie));
        yield return Invocation("size overflows", Security, GuestParameter.RegisteredOut(1, ulong.MaxValue, Cookie));
        yield return Invocation("good before bad", Security, GuestParameter.RegisteredIn(0, 1, Cookie),
            GuestParameter.RegisteredIn(Size, 1, Cookie));

        const uint Input = OpTeeMessage.TypeTemporaryInput;
        yield return Invocation("temporary memory outside RAM", BadParameters,
            GuestParameter.Temporary(Input, 0x1000_0000, 0x1000, 0));
        yield return Invocation("temporary memory that leaves RAM", BadParameters,
            GuestParameter.Temporary(Input, GuestBench.SecondRegion + GuestBench.SecondLength - 1, 2, 0));
        yield return Invocation("temporary memory that wraps", BadParameters,
            GuestParameter.Temporary(Input, GuestBench.RamStart, ulong.MaxValue, 0));
        yield return Invocation("temporary memory in the last page of all", BadParameters,
            GuestParameter.Temporary(Input, 0xffff_ffff_ffff_f000, 8, 0));
        yield return Invocation("temporary memory at the last byte of all", BadParameters,
            GuestParameter.Temporary(Input, ulong.MaxValue, ulong.MaxValue, 0));
        yield return Invocation("temporary memory in the last page but one", BadParameters,
            GuestParameter.Temporary(Input, 0xffff_ffff_ffff_efff, 1, 0));
        yield return Invocation("temporary memory of huge size", OutOfMemory,
            GuestParameter.Temporary(Input, GuestBench.RamStart, 1UL << 40, 0));
        yield return Invocation(
            "temporary page list outside RAM", BadParameters,
            GuestParameter.Temporary(Input | OpTeeMessage.AttributeNonContiguous, 0x1000_0000, 0x1000, 0));
        yield return Invocation(
            "temporary page list in the last page of all", BadParameters,
            GuestParameter.Temporary(Input | OpTeeMessage.AttributeNonContiguous, ulong.MaxValue, ulong.MaxValue, 0));
        yield return Invocation(
            "good temporary before bad",
            BadParameters,
            GuestParameter.Temporary(Input, GuestBench.RamStart, 0x1000, 0),
            GuestParameter.Temporary(Input, GuestBench.RamStart - 1, 0x1000, 0));
        yield return Invocation(
            "good temporary before unknown cookie",
            BadParameters,
            GuestParameter.Temporary(Input, GuestBench.RamStart, 0x1000, 0),
            GuestParameter.RegisteredIn(0, 1, Cookie + 1));
    }

    private static IEnumerable<TestCaseData> Openings()
    {
        GuestParameter meta = GuestParameter.Meta(1, 2, 0);
        yield return Opening("no parameters", BadParameters);
        yield return Opening("one parameter", BadParameters, meta);
        yield return Opening("first without META", BadParameters, meta with { Attributes = 1 }, meta);
        yield return Opening("second without META", BadParameters, meta, meta with { Attributes = 1 });
        yield return Opening("first is no input", BadParameters, meta with { Attributes = 0x102 }, meta);
        yield return Opening("second with more attributes", BadParameters, meta, meta with { Attributes = 0x301 });
        yield return Opening("attribute above 32 bits", BadParameters, meta with { Attributes = 0x1_0000_0101 }, meta);
        yield return Opening("third with META", BadParameters, meta, meta, meta);
        yield return Opening("five of the application's own", BadParameters, meta, meta, default, default, default,
            default, default);
        foreach (uint login in (uint[])[3, 7, 0x100, 0x8000_0001, 0xf000_0000, 0xffff_ffff])
        {
            yield return Opening($"login {login:x}", BadParameters, meta, GuestParameter.Meta(1, 2, login));
        }

        yield return Opening("reference beyond memory", BadParameters, meta, meta,
            GuestParameter.RegisteredIn(0, 1, Cookie));
        yield return Opening("temporary memory outside RAM", BadParameters, meta, meta,
            GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInput, 0x1000, 1, 0));
    }

    private static TestCaseData Invocation(string name, uint code, params GuestParameter[] parameters) =>
        new TestCaseData(parameters, code).SetArgDisplayNames(name);

    private static TestCaseData Opening(string name, uint code, params GuestParameter[] parameters) =>
        new TestCaseData(new GuestMessage(OpTeeMessage.CommandOpenSession, parameters), code).SetArgDisplayNames(name);

    /// <summary>Sends a message that is refused, shows that nothing but the result changed,
    /// and gives the code.</summary>
    private static uint Refusal(GuestBench bench, GuestMessage message)
    {
        OpTeeGuestStatus status = bench.Guest.Status;
        ulong page = bench.Driver.MessagePage;
        byte[] before = MessageBytes.Write(bench.Driver, page, message);

        uint answer = bench.Driver.Finish(bench.Driver.Start(page, 0, 0));

        byte[] after = MessageBytes.Read(bench.Driver, page);
        uint code = BitConverter.ToUInt32(after, MessageBytes.ReturnCode);
        Assert.That(answer, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(after, Is.EqualTo(before.WithResult(code, (uint)TeeOrigin.Tee)),
            "Only the result should be written.");
        Assert.That(bench.Guest.Status, Is.EqualTo(status), "Nothing should be kept.");
        Assert.That(bench.Loggers.EventIds.Where(id => id >= 1100), Is.Empty,
            "A guest's fault should be no host fault.");
        return code;
    }
}
