using System.Globalization;
using MinimalVmm;
using MinimalVmm.Guest;
using MinimalVmm.Machine;
using MinimalVmm.Tee;
using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Tests.Samples;

[TestFixture]
public sealed class MinimalVmmTests
{
    private const int LongestLine = 140;

    private static readonly GuestRange Ram = new(GuestProgram.RamStart, GuestProgram.RamSize);

    [Test]
    public async Task Run_Managed_GuestFindsEverythingAsItShouldBe()
    {
        (int exitCode, string output) = await RunAsync(Program.CreateTee(), isManaged: true);

        Assert.Multiple(() =>
        {
            Assert.That(exitCode, Is.Zero, output);
            Assert.That(output, Does.Contain("found everything as it should be"));
            Assert.That(output.Split('\n'), Has.All.Length.LessThanOrEqualTo(LongestLine));
        });
    }

    [Test]
    public async Task Run_Kvm_GuestFindsEverythingAsItShouldBe()
    {
        AssumeKvm();

        (int exitCode, string output) = await RunAsync(Program.CreateTee(), isManaged: false);

        Assert.Multiple(() =>
        {
            Assert.That(exitCode, Is.Zero, output);
            Assert.That(output, Does.StartWith("The guest runs in a VM of KVM."));
        });
    }

    [TestCaseSource(nameof(Lies))]
    public async Task Run_TeeThatLies_GuestNoticesWhatAndWhere(Func<TeeRequest, TeeResult, TeeResult> lie, string complaint)
    {
        (int exitCode, string output) = await RunAsync(new TamperedTee(Program.CreateTee(), lie), isManaged: true);

        Assert.Multiple(() =>
        {
            Assert.That(exitCode, Is.EqualTo(1));
            Assert.That(output.TrimEnd().Split('\n')[^1], Does.Match(complaint));
        });
    }

    [Test]
    public async Task Run_TeeThatLiesToKvmGuest_GuestNotices()
    {
        AssumeKvm();

        (int exitCode, string output) = await RunAsync(new TamperedTee(Program.CreateTee(), FlipsByte), isManaged: false);

        Assert.Multiple(() =>
        {
            Assert.That(exitCode, Is.EqualTo(1));
            Assert.That(output.TrimEnd().Split('\n')[^1], Does.Match(FlippedByte));
        });
    }

    [Test]
    public void Run_NobodyAnswersCalls_GuestNoticesAtOnce()
    {
        using ManagedMachine machine = new(Ram);
        using StringWriter output = new(CultureInfo.InvariantCulture);

        bool isFine = new VirtualMachineMonitor(machine, new SmcRouter(), output).Run();

        Assert.Multiple(() =>
        {
            Assert.That(isFine, Is.False);
            Assert.That(output.ToString(), Does.EndWith("step 1: discover OP-TEE: X0: expected 384fb3e0, found ffffffffffffffff\n"));
        });
    }

    // The target lies at 40204000, 4020b000, …; the guest asks for the bytes from 234 on, so that byte 1000 of them is at 4020b234.
    private const string FlippedByte = "^step 10: .*: bytes 234 to 4554 of the target: expected .*, found .* at 4020b234$";

    private static IEnumerable<TestCaseData> Lies()
    {
        yield return Lie("WrongNumber", "^step 9: .*: number a of parameter 0: expected 44332211, found 44332210$", static (request, result) =>
        {
            if (request is { CommandId: ReverseApplication.ReverseNumbers })
            {
                request.Parameters[0].A ^= 1;
            }

            return result;
        });
        yield return Lie("WrongByte", FlippedByte, FlipsByte);
        yield return Lie("ByteBehindTheOutput", "^step 10: .*: bytes 4555 to 4fff of the target: expected a5, found 0 at 40205555$", static (request, result) =>
        {
            _ = IsReverseBytes(request) && request.Parameters[1].TryWrite(0x4321, [0]);
            return result;
        });
        yield return Lie("WrongSize", "^step 10: .*: size of parameter 1: expected 4321, found 4320$", static (request, result) =>
        {
            request.Parameters[1].Size -= IsReverseBytes(request) ? 1u : 0;
            return result;
        });
        yield return Lie("WrongReturnCode", "^step 9: .*: return code: expected 0, found ffff0006$", static (_, result) => result with { Code = TeeReturnCode.BadParameters });
        yield return Lie("WrongOrigin", "^step 9: .*: origin: expected 4, found 3$", static (_, result) => result with { Origin = TeeOrigin.Tee });
        yield return Lie("SameRandomBytesTwice", "^step 13: .*: equal words in both reads: expected 0, found 8$", static (request, result) =>
        {
            _ = IsRandom(request) && request.Parameters[0].TryWrite(0, new byte[64]);
            return result;
        });
        yield return Lie("RandomBytesThatStopEarly", "^step 13: .*: words that the first read left alone: expected 0, found 1$", static (request, result) =>
        {
            _ = IsRandom(request) && request.Parameters[0].Offset == 0 && request.Parameters[0].TryWrite(56, [0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5]);
            return result;
        });
    }

    private static TestCaseData Lie(string name, string complaint, Func<TeeRequest, TeeResult, TeeResult> lie) =>
        new TestCaseData(lie, complaint).SetArgDisplayNames(name);

    private static TeeResult FlipsByte(TeeRequest request, TeeResult result)
    {
        Span<byte> value = stackalloc byte[1];
        if (IsReverseBytes(request) && request.Parameters[1].TryRead(0x1000, value))
        {
            value[0] ^= 0x10;
            _ = request.Parameters[1].TryWrite(0x1000, value);
        }

        return result;
    }

    private static bool IsReverseBytes(TeeRequest request) =>
        request.CommandId == ReverseApplication.ReverseBytes && request.Parameters[1].Kind == TeeParameterKind.MemoryOutput;

    private static bool IsRandom(TeeRequest request) => request.Parameters[0].Kind == TeeParameterKind.MemoryInOut;

    private static async Task<(int ExitCode, string Output)> RunAsync(ITeeBackend tee, bool isManaged)
    {
        await using StringWriter output = new(CultureInfo.InvariantCulture);
        int exitCode = await Program.RunAsync(output, tee, isManaged);
        return (exitCode, output.ToString());
    }

    private static void AssumeKvm()
    {
        bool isThere = KvmMachine.TryCreate(Ram, out IMachine? machine, out string? reason);
        machine?.Dispose();
        Assume.That(isThere, Is.True, reason);
    }
}
