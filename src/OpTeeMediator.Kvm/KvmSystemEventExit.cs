using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm;

/// <summary>The guest shuts down, say (KVM_EXIT_SYSTEM_EVENT). Valid until the vCPU runs again.</summary>
/// <remarks>Belongs to the vCPU's thread.</remarks>
[Experimental("OPTEE001")]
public readonly ref struct KvmSystemEventExit
{
    internal KvmSystemEventExit(KvmSystemEventType type, ReadOnlySpan<ulong> data)
    {
        Type = type;
        Data = data;
    }

    /// <summary>What the guest asked for.</summary>
    public KvmSystemEventType Type { get; }

    /// <summary>Further numbers, depending on architecture and type; 0 to 16.</summary>
    public ReadOnlySpan<ulong> Data { get; }
}
