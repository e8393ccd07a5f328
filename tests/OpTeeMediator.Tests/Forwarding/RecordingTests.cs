using OpTeeMediator.Forwarding;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing.Forwarding;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>What a real driver and a real OP-TEE said to each other: the forwarder must make of each call what was made of it then.</summary>
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
        List<RecordedExchange> exchanges = Recording.Read();
        ArrayRam ram = new(RamStart, RamLength);
        ulong[] blocks = [.. Enumerable.Range(0, GuestBlocks).Select(block => RamStart + ((ulong)((block * 77) % GuestBlocks) * BlockSize))];
        PartitionedMemory memory = new(ram, RamStart, BlockSize, blocks, Shadow, 256);
        RecordedOpTee opTee = new(ram, memory);
        OpTeeForwarder forwarder = new(new HostOpTee(opTee), memory, memory, new OpTeeForwarderOptions
        {
            // What the mediator of the recording offered.
            Capabilities = OpTeeCapabilities.DynamicSharedMemory | OpTeeCapabilities.NullMemoryReference,
            VirtualMachineId = 1,
        });
        RecordedGuest guest = new(forwarder, memory);

        foreach (RecordedExchange exchange in exchanges)
        {
            opTee.Next = exchange;
            guest.Replay(exchange);
        }

        using (Assert.EnterMultipleScope())
        {
            Assert.That(opTee.Differences.Concat(guest.Differences), Is.Empty);
            Assert.That(exchanges, Has.Count.EqualTo(88), "18 calls, 53 resumes and 17 fast calls: the reader misses none.");
            Assert.That(forwarder.Status, Is.EqualTo(default(OpTeeGuestStatus)), "The driver was unbound and bound, and closed all it opened.");
        }

        await forwarder.DisposeAsync();
        Assert.That(memory.Pins, Is.Zero);
    }
}
