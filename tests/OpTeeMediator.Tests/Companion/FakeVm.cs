using System.Collections.Immutable;
using OpTeeMediator.Kvm;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Companion;

internal sealed class FakeVm(int cores) : ICompanionVm
{
    public ImmutableArray<FakeCpu> Fakes { get; } = [.. Enumerable.Range(0, cores).Select(_ => new FakeCpu())];

    public List<(int Core, GuestAddress Address)> Accesses { get; } = [];

    /// <summary>What OP-TEE leaves behind.</summary>
    public byte[] DeviceTree { get; set; } = MemoryDeviceTree.Write([new GuestRange(0x4000_0000, 1 << 20)], []);

    public bool IsDisposed { get; private set; }

    public ImmutableArray<ICompanionCpu> Cpus => ImmutableArray<ICompanionCpu>.CastUp(Fakes);

    public ulong FrequencyCode => FakeCpu.FrequencyCode;

    public bool HasImage { get; private set; }

    public void LoadImage() => HasImage = true;

    // The device tree stands for all of OP-TEE's memory.
    public void SaveMemory(Stream target) => target.Write(DeviceTree);

    public void RestoreMemory(Stream source)
    {
        using MemoryStream memory = new();
        source.CopyTo(memory);
        DeviceTree = memory.ToArray();
    }

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

    public void Dispose() => IsDisposed = true;
}
