using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.Tests.Conformance;

/// <summary>The interface to the guest, by the headers' text: registers, messages, memory, call by call.</summary>
[TestFixture]
internal sealed class ConformanceTests
{
    private const int AllChecks = 188;

    // The target lies at 40204000, 4020b000, …; the guest wants the result from byte 234 on.
    private const string FlippedByte =
        "^step 10: .*: bytes 234 to 4554 of the target: expected .*, found .* at 4020b234$";

    private MemfdGuestMemory _memory = null!;

    [SetUp]
    public void SetUp() =>
        _memory = MemfdGuestMemory.Create(new GuestRange(ConformanceProgram.RamStart, ConformanceProgram.RamSize));

    [TearDown]
    public void TearDown() => _memory.Dispose();

    [Test]
    public async Task Run_SoftwareTee_EveryCheckPasses()
    {
        await using OpTeeGuest guest = new(_memory, CreateTee(), Options);
        ConformanceProgram program = new(guest, _memory);

        program.Run();

        Assert.That(program.Passed, Is.EqualTo(AllChecks));
    }

    [Test]
    public void Run_NoHandler_FirstCheckFails()
    {
        ConformanceProgram program = new(new SmcRouter(), _memory);

        Assert.That(program.Run, Throws.TypeOf<CheckFailedException>().With.Message.EqualTo(
            "step 1: discover OP-TEE: X0: expected 384fb3e0, found ffffffffffffffff"));
    }

    [TestCaseSource(nameof(Lies))]
    public async Task Run_WrongAnswer_CheckFails(Func<TeeRequest, TeeResult, TeeResult> lie, string failure)
    {
        await using OpTeeGuest guest = new(_memory, new TamperedTee(CreateTee(), lie), Options);
        ConformanceProgram program = new(guest, _memory);

        Assert.That(program.Run, Throws.TypeOf<CheckFailedException>().With.Message.Matches(failure));
    }

    private static OpTeeGuestOptions Options => new()
    {
        Access = TeeAccess.Only(ReverseApplication.Uuid, SoftwareTeeBackend.RandomNumberGeneratorUuid),
    };

    private static SoftwareTeeBackend CreateTee() => new(new SoftwareTeeOptions().Add(
        new TrustedApplicationManifest(ReverseApplication.Uuid), () => new ReverseApplication()));

    private static IEnumerable<TestCaseData> Lies()
    {
        yield return Lie(
            "WrongNumber",
            "^step 9: .*: number a of parameter 0: expected 44332211, found 44332210$",
            static (request, result) =>
            {
                if (request is { CommandId: ReverseApplication.ReverseNumbers })
                {
                    request.SetValue(0, request.Parameters[0].A ^ 1, request.Parameters[0].B);
                }

                return result;
            });
        yield return Lie("WrongByte", FlippedByte, static (request, result) =>
        {
            Span<byte> value = stackalloc byte[1];
            if (IsReverseBytes(request) && request.Parameters[1].TryRead(0x1000, value))
            {
                value[0] ^= 0x10;
                _ = request.Parameters[1].TryWrite(0x1000, value);
            }

            return result;
        });
        yield return Lie(
            "ByteAfterTheOutput",
            "^step 10: .*: bytes 4555 to 4fff of the target: expected a5, found 0 at 40205555$",
            static (request, result) =>
            {
                _ = IsReverseBytes(request) && request.Parameters[1].TryWrite(0x4321, [0]);
                return result;
            });
        yield return Lie(
            "WrongSize",
            "^step 10: .*: size of parameter 1: expected 4321, found 4320$",
            static (request, result) =>
            {
                request.SetSize(1, request.Parameters[1].Size - (IsReverseBytes(request) ? 1u : 0));
                return result;
            });
        yield return Lie(
            "WrongReturnCode",
            "^step 9: .*: return code: expected 0, found ffff0006$",
            static (_, result) => result with { Code = TeeReturnCode.BadParameters });
        yield return Lie(
            "WrongOrigin",
            "^step 9: .*: origin: expected 4, found 3$",
            static (_, result) => result with { Origin = TeeOrigin.Tee });
        yield return Lie(
            "SameRandomBytesTwice",
            "^step 13: .*: equal words in both reads: expected 0, found 8$",
            static (request, result) =>
            {
                _ = IsRandom(request) && request.Parameters[0].TryWrite(0, new byte[64]);
                return result;
            });
        yield return Lie(
            "RandomBytesThatStopEarly",
            "^step 13: .*: words that the first read left alone: expected 0, found 1$",
            static (request, result) =>
            {
                ReadOnlySpan<byte> untouched = [0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5];
                _ = IsRandom(request)
                    && request.Parameters[0].Offset == 0
                    && request.Parameters[0].TryWrite(56, untouched);
                return result;
            });
    }

    private static TestCaseData Lie(string name, string failure, Func<TeeRequest, TeeResult, TeeResult> lie) =>
        new TestCaseData(lie, failure).SetArgDisplayNames(name);

    private static bool IsReverseBytes(TeeRequest request) =>
        request.CommandId == ReverseApplication.ReverseBytes
        && request.Parameters[1].Kind == TeeParameterKind.MemoryOutput;

    private static bool IsRandom(TeeRequest request) => request.Parameters[0].Kind == TeeParameterKind.MemoryInOut;
}
