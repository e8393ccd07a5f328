using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace KvmVmm.Tee;

/// <summary>The guest's TEE, whatever is behind it.</summary>
internal interface IGuestTee : IAsyncDisposable
{
    /// <summary>Answers the guest's calls.</summary>
    ISmcHandler Handler { get; }

    /// <summary>The device-tree node by which the guest finds it.</summary>
    OpTeeDeviceTreeNode DeviceTreeNode { get; }

    /// <summary>The guest's memory that it keeps for itself.</summary>
    IReadOnlyList<GuestRange> ReservedMemory { get; }

    /// <summary>What it has done, for a message at the end; empty if there is nothing to say.</summary>
    string Report { get; }

    /// <summary>The guest reboots, and no vCPU runs.</summary>
    /// <returns>A task that ends when a new driver may begin.</returns>
    Task ResetAsync();
}
