using System.Collections.Immutable;
using OpTeeMediator.Linux.Kvm;

namespace OpTeeMediator.Linux.Companion;

/// <summary>The VM in which an OP-TEE lives, from its power-on to its end: the image loaded, nothing run yet. Tests put their own in KVM's place.</summary>
internal interface ICompanionVm : IDisposable
{
    /// <summary>Its cores.</summary>
    ImmutableArray<ICompanionCpu> Cpus { get; }

    /// <summary>The frequency of the cores' counter in Hz.</summary>
    ulong CounterFrequency { get; }

    /// <summary>An access of a core outside memory.</summary>
    /// <param name="core">The core's number.</param>
    /// <param name="access">The access, which is answered.</param>
    void Access(int core, KvmMmioExit access);

    /// <summary>Copies the device tree, as OP-TEE has left it.</summary>
    byte[] ReadDeviceTree();
}
