using OpTeeMediator.Forwarding;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing.Forwarding;
using OpTeeMediator.Testing.Traces;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>Recorded calls of a real driver and answers of a real OP-TEE: both get the same again.</summary>
internal sealed class RecordingTests
{
    private const ulong RamStart = 0x4000_0000;
    private const int RamLength = 512 << 20;
    private const ulong BlockSize = 2 << 20;
    private const ulong Shadow = RamStart + (400ul << 20);
    private const int GuestBlocks = 192;

    [Test]
    public async Task Replay_OfTheRecording_GivesOpTeeAndTheGuestTheSame()
    {
        List<TraceCall> calls = Trace.Read(
            Path.Combine(TestContext.CurrentContext.TestDirectory, "Forwarding", "trace-optee-4.5.txt"));
        ArrayRam ram = new(RamStart, RamLength);
        ulong[] blocks =
        [
            .. Enumerable.Range(0, GuestBlocks)
                .Select(block => RamStart + ((ulong)((block * 77) % GuestBlocks) * BlockSize)),
        ];
        PartitionedMemory memory = new(ram, RamStart, BlockSize, blocks, Shadow, 256);
        RecordedOpTee opTee = new(ram, memory);
        OpTeeForwarder forwarder = new(new HostOpTee(opTee), memory, memory, new OpTeeForwarderOptions
        {
            // What the mediator of the recording offered.
            Capabilities = OpTeeCapabilities.DynamicSharedMemory | OpTeeCapabilities.NullMemoryReference,
            VirtualMachineId = 1,
        });
        RecordedGuest guest = new(forwarder, memory);

        foreach (TraceCall call in calls)
        {
            opTee.Next = call;
            guest.Replay(call);
        }

        using (Assert.EnterMultipleScope())
        {
            Assert.That(opTee.Differences.Concat(guest.Differences), Is.Empty);
            Assert.That(calls, Has.Count.EqualTo(88), "18 calls, 53 resumes and 17 fast calls: none is missed.");
            Assert.That(
                forwarder.Status,
                Is.EqualTo(OpTeeGuestStatus.Nothing),
                "The driver was unbound and bound, and closed all it opened.");
        }

        await forwarder.DisposeAsync();
        Assert.That(memory.Pins, Is.Zero);
    }
}
