using System.Runtime.ExceptionServices;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Forwarding;

/// <summary>Notifies OP-TEE that a VM is created and destroyed, the latter as often as the options allow.</summary>
/// <remarks>Not thread-safe: called in phases that one thread has begun.</remarks>
internal sealed class VmRegistration(HostOpTee opTee, int id, VmResources vm, int recreationLimit, ILogger log)
{
    private bool _hasReportedLimit;

    /// <summary>The number by which OP-TEE knows the VM.</summary>
    public int Id => id;

    /// <summary>How often the VM was destroyed to be created again.</summary>
    public int Recreations { get; private set; }

    /// <summary>Whether the VM must not be destroyed to be created again.</summary>
    public bool IsAtLimit => Recreations >= recreationLimit;

    /// <summary>VM_CREATED, for a VM that has not run yet.</summary>
    /// <exception cref="TeeUnavailableException">OP-TEE refused.</exception>
    /// <exception cref="Exception">What the monitor threw.</exception>
    public void Create()
    {
        if (opTee.TryCreate(id, out uint answer) is { } failure)
        {
            ExceptionDispatchInfo.Throw(failure);
        }

        if (answer != OpTeeSmc.ReturnOk)
        {
            throw new TeeUnavailableException(
                $"OP-TEE answered 0x{answer:x} to VM_CREATED of VM {id}; {opTee.VirtualMachines} VMs use it or are "
                + $"about to. 0x{OpTeeSmc.ReturnNotAvailable:x} means that it has no room for more: its build "
                + "limits the number (CFG_VIRT_GUEST_COUNT).");
        }
    }

    /// <summary>VM_CREATED, after the VM was destroyed. Returns the phase that begins.</summary>
    public VmPhase CreateAgain()
    {
        if (opTee.TryCreate(id, out uint answer) is { } failure)
        {
            log.CallFailed(OpTeeSmc.VmCreated, failure);
            return VmPhase.NotCreated;
        }

        if (answer != OpTeeSmc.ReturnOk)
        {
            log.CreationRefused(id, answer);
            return VmPhase.NotCreated;
        }

        return VmPhase.Serving;
    }

    /// <summary>VM_DESTROYED, and then the release of the VM's memory.</summary>
    public bool TryDestroy()
    {
        if (opTee.TryDestroy(id, out uint answer) is { } failure)
        {
            log.CallFailed(OpTeeSmc.VmDestroyed, failure);
            return false;
        }

        if (answer != OpTeeSmc.ReturnOk)
        {
            log.DestructionRefused(id, answer, vm.Buffers);
            return false;
        }

        vm.Clear();
        return true;
    }

    /// <summary>VM_DESTROYED of a VM that is created again afterwards, which counts for the limit.</summary>
    public bool TryDestroyToRecreate()
    {
        Recreations++;
        return TryDestroy();
    }

    public void ReportLimit()
    {
        if (!_hasReportedLimit)
        {
            _hasReportedLimit = true;
            log.RecreationLimitReached(id, Recreations);
        }
    }
}
