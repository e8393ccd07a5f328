namespace OpTeeMediator.Linux.Companion;

/// <summary>Where the monitor enters OP-TEE: a table of branches of 4 bytes.</summary>
/// <remarks>
/// <code>
/// +0 yielding call   +4 fast call   +8 CPU on    +12 CPU off
/// +16 CPU resume     +20 suspend    +24 FIQ      +28 system off    +32 system reset
/// </code>
/// Source: OP-TEE's <c>thread_vector_table</c>. Immutable, hence thread-safe.
/// </remarks>
internal readonly record struct VectorTable(ulong Address)
{
    internal ulong YieldingCall => Address;

    internal ulong FastCall => Address + 4;

    internal ulong CpuOn => Address + 8;

    internal ulong NativeInterrupt => Address + 24;
}
