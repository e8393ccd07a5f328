using System.Collections.Immutable;
using OpTeeMediator.Kvm;

namespace OpTeeMediator.Linux.Companion;

/// <summary>The VM in which an OP-TEE lives, from its power-on to its end: the image loaded, nothing run yet. Tests put
/// their own in KVM's place.</summary>
internal interface ICompanionVm : IDisposable
{
    ImmutableArray<ICompanionCpu> Cpus { get; }

    /// <summary>The address of code that puts the frequency of the cores' counter in Hz into X1 and gives the core back
    /// (<see cref="OpteedCall.Unused"/>, X0).</summary>
    /// <remarks>Only code in the VM can read CNTFRQ_EL0.</remarks>
    ulong FrequencyCode { get; }

    /// <summary>Answers an access of a core outside memory.</summary>
    void Access(int core, KvmMmioExit access);

    /// <summary>Copies the device tree, as OP-TEE has left it.</summary>
    byte[] ReadDeviceTree();
}
