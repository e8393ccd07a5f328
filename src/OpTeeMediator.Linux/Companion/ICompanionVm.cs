using System.Collections.Immutable;
using OpTeeMediator.Kvm;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Linux.Companion;

/// <summary>The VM in which an OP-TEE lives, from its power-on to its end: its memory empty unless it was copied from
/// another one, nothing run yet. Tests put their own in KVM's place.</summary>
internal interface ICompanionVm : IDisposable
{
    ImmutableArray<ICompanionCpu> Cpus { get; }

    /// <summary>The guest's interrupt, for what OP-TEE sets pending for the normal world; set before anything
    /// runs.</summary>
    IInterruptLine? Line { get; set; }

    /// <summary>The address of code that puts the frequency of the cores' counter in Hz into X1 and gives the core back
    /// (<see cref="OpteedCall.Unused"/>, X0).</summary>
    /// <remarks>Only code in the VM can read CNTFRQ_EL0.</remarks>
    ulong FrequencyCode { get; }

    /// <summary>Puts the image, its device tree and the code of <see cref="FrequencyCode"/> into memory.</summary>
    void LoadImage();

    /// <summary>OP-TEE's own memory.</summary>
    TrackedGuestMemory Memory { get; }

    /// <summary>Writes the state of cores, interrupt controller and devices, while no core runs.</summary>
    void SaveCores(Stream target);

    /// <summary>Restores the state of cores, interrupt controller and devices, while no core runs.</summary>
    /// <exception cref="InvalidDataException">The state makes no sense, or is that of another kind of host.</exception>
    void RestoreCores(Stream source);

    /// <summary>Answers an access of a core outside memory.</summary>
    void Access(int core, KvmMmioExit access);

    /// <summary>Copies the device tree, as OP-TEE has left it.</summary>
    byte[] ReadDeviceTree();
}
