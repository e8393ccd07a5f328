using System.Collections.Immutable;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Companion;

internal sealed class FakeVm : ICompanionVm
{
    private static readonly OpTeePlatform Platform = OpTeePlatform.QemuArmV8;

    private readonly MemfdGuestMemory _memory;
    private readonly TrackedGuestMemory _tracked;
    private readonly int _treeLength;

    public FakeVm(int cores, MemfdGuestMemory? copied = null, byte[]? deviceTree = null)
    {
        Fakes = [.. Enumerable.Range(0, cores).Select(_ => new FakeCpu())];
        _memory = copied ?? CompanionVm.CreateMemory(CompanionBench.Options());
        _tracked = new TrackedGuestMemory(_memory);
        byte[] tree = deviceTree ?? MemoryDeviceTree.Write([new GuestRange(0x4000_0000, 1 << 20)], []);
        _treeLength = tree.Length;
        if (copied is null)
        {
            _ = _memory.TryWrite(Platform.DeviceTree, tree);
        }
    }

    public ImmutableArray<FakeCpu> Fakes { get; }

    public List<(int Core, GuestAddress Address)> Accesses { get; } = [];

    public IInterruptLine? Line { get; set; }

    public TrackedGuestMemory Memory => HasBrokenMemory
        ? throw new SystemCallException("KVM does not log.")
        : _tracked;

    /// <summary>Whether KVM refuses what concerns the memory.</summary>
    public bool HasBrokenMemory { get; set; }

    /// <summary>What OP-TEE leaves behind.</summary>
    public byte[] DeviceTree
    {
        get
        {
            byte[] tree = new byte[_treeLength];
            _ = _memory.TryRead(Platform.DeviceTree, tree);
            return tree;
        }
    }

    public bool IsDisposed { get; private set; }

    public ImmutableArray<ICompanionCpu> Cpus => ImmutableArray<ICompanionCpu>.CastUp(Fakes);

    public ulong FrequencyCode => FakeCpu.FrequencyCode;

    public bool HasImage { get; private set; }

    public void LoadImage() => HasImage = true;

    public void SaveCores(Stream target)
    {
        foreach (FakeCpu cpu in Fakes)
        {
            cpu.Save(target);
        }
    }

    public void RestoreCores(Stream source)
    {
        foreach (FakeCpu cpu in Fakes)
        {
            cpu.Restore(source);
        }
    }

    public void Access(int core, KvmMmioExit access) => Accesses.Add((core, access.Address));

    public byte[] ReadDeviceTree() => DeviceTree;

    /// <summary>What OP-TEE has at an offset of its memory.</summary>
    public byte this[ulong offset]
    {
        get
        {
            Span<byte> value = stackalloc byte[1];
            Assert.That(Memory.TryRead(Platform.SecureMemory.Start.Add(offset), value));
            return value[0];
        }

        set => Assert.That(Memory.TryWrite(Platform.SecureMemory.Start.Add(offset), [value]));
    }

    public void Dispose()
    {
        IsDisposed = true;
        _memory.Dispose();
    }
}
