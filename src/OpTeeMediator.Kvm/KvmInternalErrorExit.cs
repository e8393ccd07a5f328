using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm;

/// <summary>KVM cannot go on (KVM_EXIT_INTERNAL_ERROR). Valid until the vCPU runs again.</summary>
/// <remarks>Belongs to the vCPU's thread.</remarks>
[Experimental("OPTEE001")]
public readonly ref struct KvmInternalErrorExit
{
    internal KvmInternalErrorExit(uint suberror, ReadOnlySpan<ulong> data)
    {
        Suberror = suberror;
        Data = data;
    }

    /// <summary>KVM_INTERNAL_ERROR_*: 1 emulation, 2 double exception, 3 event delivery, 4 unexpected exit.</summary>
    public uint Suberror { get; }

    /// <summary>What KVM adds for a bug report; 0 to 16 numbers.</summary>
    public ReadOnlySpan<ulong> Data { get; }
}
