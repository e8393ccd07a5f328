namespace OpTeeMediator.Kvm;

/// <summary>Offsets in bytes of the members of <c>struct kvm_run</c> (linux/kvm.h).</summary>
internal static class KvmRunLayout
{
    internal const int ImmediateExit = 1;
    internal const int ExitReason = 8;

    /// <summary>The union of the exits' payloads.</summary>
    internal const int Payload = 32;

    internal const int UnknownHardwareReason = Payload;

    internal const int FailEntryReason = Payload;
    internal const int FailEntryCpu = Payload + 8;

    internal const int IoDirection = Payload;
    internal const int IoSize = Payload + 1;
    internal const int IoPort = Payload + 2;
    internal const int IoCount = Payload + 4;
    internal const int IoDataOffset = Payload + 8;

    internal const int MmioAddress = Payload;
    internal const int MmioData = Payload + 8;
    internal const int MmioLength = Payload + 16;
    internal const int MmioIsWrite = Payload + 20;

    internal const int HypercallNumber = Payload;

    /// <summary>Behind nr (8), args (48) and ret (8); a union with longmode.</summary>
    internal const int HypercallFlags = Payload + 64;

    internal const int InternalSuberror = Payload;
    internal const int InternalDataCount = Payload + 4;
    internal const int InternalData = Payload + 8;

    internal const int SystemEventType = Payload;
    internal const int SystemEventDataCount = Payload + 4;
    internal const int SystemEventData = Payload + 8;

    internal const int NoSyndromeEsr = Payload;
    internal const int NoSyndromeAddress = Payload + 8;

    /// <summary>The number of 64-bit words that <c>internal.data</c> and <c>system_event.data</c> can hold.</summary>
    internal const int MaximumDataCount = 16;

    internal const int SharedRegisters = 304;
    internal const int SharedRegistersSize = 2048;
}
