using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Calls;

/// <summary>What a guest's calls work with; fixed for the life of the VM.</summary>
internal sealed record CallEnvironment(
    string Name,
    NonThrowingGuestMemory Memory,
    GuestRange? Reserved,
    ITeePartition Partition,
    TeeAccess Access,
    SharedBufferPool Buffers,
    int Slots,
    TimeSpan Quantum,
    TimeSpan SleepAfter,
    NotificationQueue Notifications,
    PauseControl Pause,
    ILogger Log,
    CallObserver Observer);
