using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.Tests.SoftwareTee;

internal sealed class AllocationTests
{
    private const int Commands = 1000;

    [TestCase(TeeExecution.Worker, false)]
    [TestCase(TeeExecution.Inline, false)]
    [TestCase(TeeExecution.Inline, true)]
    public async Task InvokeCommand_SynchronousApplication_AllocatesNothing(TeeExecution execution, bool concurrent)
    {
        TrustedApplicationManifest manifest =
            SoftwareTeeBench.MultiSession with { Execution = execution, Concurrent = concurrent };
        await using ITeePartition partition =
            new SoftwareTeeBackend(new SoftwareTeeOptions().Add(manifest, () => new SumApplication()))
            .CreatePartition(SoftwareTeeBench.VirtualMachine("vm", new RecordingLoggers()));
        TeeRequest opening = new() { Application = manifest.Uuid };
        _ = await partition.OpenSessionAsync(opening);
        ArraySharedMemory memory = new(new byte[64]);
        TeeRequest request = SoftwareTeeBench.Command(
            0,
            TeeParameter.Value(TeeParameterKind.ValueInOut, 1, 1),
            TeeParameter.Reference(TeeParameterKind.MemoryInput, memory, 0, 64),
            TeeParameter.Reference(TeeParameterKind.MemoryOutput, memory, 32, 32));

        // The first round is for what happens once: just-in-time compilation, static fields.
        _ = AllocatedBy(opening.Session!, request);
        long bytes = AllocatedBy(opening.Session!, request);

        Assert.That(bytes, Is.Zero);
        Assert.That(request.Parameters[0].A, Is.EqualTo(1 + (2 * Commands)), "Every command should have added 1.");
    }

    private static long AllocatedBy(ITeeSession session, TeeRequest request)
    {
        int successes = 0;
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int count = 0; count < Commands; count++)
        {
            successes += CountSuccess(session.InvokeCommandAsync(request));
        }

        long bytes = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.That(successes, Is.EqualTo(Commands));
        return bytes;
    }

    private static int CountSuccess(ValueTask<TeeResult> result) =>
        result.IsCompletedSuccessfully && result.Result.IsSuccess ? 1 : 0;

    private sealed class SumApplication : TrustedApplication
    {
        protected internal override TeeReturnCode InvokeCommand(ApplicationCall call)
        {
            Span<byte> buffer = stackalloc byte[64];
            if (!call.HasParameters(TeeParameterKind.ValueInOut, TeeParameterKind.MemoryInput,
                TeeParameterKind.MemoryOutput)
                || !call[1].TryReadAll(buffer, out ReadOnlySpan<byte> content))
            {
                return TeeReturnCode.BadParameters;
            }

            call[0].A += call[0].B;
            return call.IsCancellationRequested ? TeeReturnCode.Cancel : call[2].Write(content[..32]);
        }
    }
}
