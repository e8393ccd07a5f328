using OpTeeMediator.Forwarding;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Tests.Linux;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>A computer with a fake OP-TEE and room for three VMs, each with a driver that speaks to its
/// forwarder.</summary>
internal sealed class ForwarderBench
{
    public const ulong Cookie = 0xffff_0000_0938_5a80;

    /// <summary>Where each guest sees its memory; the same for all, so that one's address is another's too.</summary>
    public const ulong GuestStart = 0x4000_0000;

    private const ulong RamStart = 0x5000_0000;
    private const int RamLength = 32 << 20;
    private const ulong BlockSize = 0x1_0000;
    private const int Blocks = 128;
    private const ulong VmLength = BlockSize * Blocks;
    private const ulong ShadowLength = 1 << 20;

    /// <param name="ram">The computer's memory, of an earlier bench for example.</param>
    /// <param name="wrap">What to put around its monitor.</param>
    /// <param name="threads">How many threads OP-TEE has for a VM.</param>
    public ForwarderBench(ArrayRam? ram = null, Func<ISecureMonitor, ISecureMonitor>? wrap = null, int threads = 2)
    {
        Ram = ram ?? CreateRam();
        OpTee = new FakeOpTee(Ram) { Threads = threads };
        World = new HostOpTee(wrap is null ? OpTee : wrap(OpTee));
    }

    public ArrayRam Ram { get; }

    public static ArrayRam CreateRam() => new(RamStart, RamLength);

    public FakeOpTee OpTee { get; }

    public HostOpTee World { get; }

    public ListLoggerFactory Loggers { get; } = new();

    /// <summary>The memory of a VM: its blocks lie in reverse order, and behind them its shadow pages.</summary>
    public PartitionedMemory MemoryOf(int vm)
    {
        ulong start = RamStart + ((ulong)vm * (VmLength + ShadowLength));
        ulong[] blocks =
            [.. Enumerable.Range(0, Blocks).Select(block => start + ((ulong)(Blocks - 1 - block) * BlockSize))];
        return new PartitionedMemory(Ram, GuestStart, BlockSize, blocks, start + VmLength,
            (int)(ShadowLength / OpTeeMessage.PageSize));
    }

    /// <param name="vm">0 to 2: where its memory lies.</param>
    /// <param name="options">How it is forwarded.</param>
    /// <param name="wrap">What to put around its memory.</param>
    public ForwardedVm Create(
        int vm = 0, OpTeeForwarderOptions? options = null, Func<PartitionedMemory, IGuestMemory>? wrap = null)
    {
        PartitionedMemory memory = MemoryOf(vm);
        IGuestMemory seen = wrap is null ? memory : wrap(memory);
        OpTeeForwarder forwarder =
            new(World, seen, memory, (options ?? new OpTeeForwarderOptions()) with { LoggerFactory = Loggers });
        FakeDriver driver = new(forwarder, memory, new GuestRange(GuestStart, VmLength - (1 << 20)));
        return new ForwardedVm(this, memory, forwarder, driver);
    }

    public static Guid Application => GuestBench.Application;
}
