using System.Collections.Immutable;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Companion;

/// <summary>The switch between the worlds allocates nothing.</summary>
[TestFixture]
internal sealed class AllocationTests
{
    private const int Calls = 1000;

    [TestCase(OpTeeSmc.CallsUid)]
    [TestCase(OpTeeSmc.CallWithRegisteredArgument)]
    [TestCase(OpTeeSmc.ReturnFromRpc)]
    public async Task Handle_InTheSteadyState_AllocatesNothing(uint functionId)
    {
        await using OpTeeCompanion companion = OpTeeCompanion.Start(
            CompanionBench.Setup(CompanionBench.Options(), _ => new PlainVm()));
        Make(companion, OpTeeSmc.CallWithArgument, 1);
        Make(companion, functionId, Calls);

        long before = GC.GetAllocatedBytesForCurrentThread();
        Make(companion, functionId, Calls);

        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }

    private static void Make(OpTeeCompanion companion, uint functionId, int count)
    {
        for (int index = 0; index < count; index++)
        {
            SmcRegisters registers = default;
            registers.X0 = functionId;
            _ = companion.Handle(ref registers, SmcRegisterSet.All);
            if ((uint)registers.X0 != (functionId == OpTeeSmc.CallsUid ? 0 : OpTeeSmc.ReturnRpcForeignInterrupt))
            {
                Assert.Fail("It was not OP-TEE that answered.");
            }
        }
    }

    private sealed class PlainVm : ICompanionVm
    {
        public ImmutableArray<ICompanionCpu> Cpus { get; } = [new PlainCpu(), new PlainCpu()];

        public IInterruptLine? Line { get; set; }

        public ulong FrequencyCode => PlainCpu.FrequencyCode;

        public void LoadImage()
        {
        }

        public TrackedGuestMemory Memory => throw new NotSupportedException();

        public void SaveCores(Stream target) => throw new NotSupportedException();

        public void RestoreCores(Stream source) => throw new NotSupportedException();

        public void Access(int core, KvmMmioExit access)
        {
        }

        public byte[] ReadDeviceTree() => MemoryDeviceTree.Write([new GuestRange(0x4000_0000, 1 << 20)], []);

        public void Dispose()
        {
        }
    }

    /// <summary>Answers every entry with what belongs to it: a yielding call with the end of its
    /// quantum, in thread 0.</summary>
    private sealed class PlainCpu : ICompanionCpu
    {
        public const ulong FrequencyCode = 0x1000;

        private ulong _entry;

        public KvmMmioExit Mmio => default;

        public KvmHypercallExit Hypercall => new(_entry switch { 0 or 4 => 0xbe00_0005, 8 =>
            0xbe00_0001, FrequencyCode => 0xbe00_ffff, _ => 0xbe00_0000 }, 1);

        public ulong Get(Arm64Register register) => register != Arm64Register.X(1) ? 0 : _entry switch
        {
            0 => OpTeeSmc.ReturnRpcForeignInterrupt,
            FrequencyCode => 1_000_000,
            _ => 0,
        };

        public void Set(Arm64Register register, ulong value) => _entry = register == Arm64Register.Pc ? value : _entry;

        public KvmExitReason Run() => KvmExitReason.Hypercall;

        public void Kick()
        {
        }
    }
}
