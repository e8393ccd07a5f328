using OpTeeMediator.State;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Calls;

/// <summary>The notifications for a guest: small numbers that wait to be fetched, and their interrupt.</summary>
/// <remarks>Thread-safe. By the Linux driver's rules, one interrupt may stand for several values.</remarks>
internal sealed class NotificationQueue(NonThrowingInterruptLine? line)
{
    /// <summary>The highest number for the guest. No multiple of 64, and never sent: Linux cannot take it.</summary>
    public const uint HighestValue = 255;

    private const int Words = 4;

    // What _state says: between ENABLE_ASYNC_NOTIF and STOP_ASYNC_NOTIF, and while the latter waits for sleepers.
    private const int Off = 0;
    private const int On = 1;
    private const int Stopping = 2;

    private readonly Lock _lock = new();
    private readonly ulong[] _pending = new ulong[Words];
    private volatile int _state;

    public bool IsAvailable => line is not null;

    /// <summary>Whether the guest takes notifications, and goes on doing so.</summary>
    public bool IsEnabled => _state == On;

    /// <summary>The number that wakes a sleeping call.</summary>
    public static uint ValueOf(int slot) => (uint)slot + 1;

    public void Enable()
    {
        bool hasPending;
        lock (_lock)
        {
            _state = On;
            hasPending = HasPending;
        }

        if (hasPending)
        {
            line?.Pulse();
        }
    }

    /// <summary>Nothing is to wait now. A full fence: a call about to wait either sees it or is seen asleep.</summary>
    public void BeginStop() => _ = Interlocked.Exchange(ref _state, Stopping);

    /// <summary>Ends notifications, unless a driver has enabled them meanwhile. What is pending stays.</summary>
    public void EndStop() => _ = Interlocked.CompareExchange(ref _state, Off, Stopping);

    /// <summary>A new driver starts: nothing is pending, nothing enabled.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            _state = Off;
            Array.Clear(_pending);
        }
    }

    public void Post(uint value)
    {
        lock (_lock)
        {
            _pending[value / 64] |= 1UL << (int)(value % 64);
        }

        line?.Pulse();
    }

    /// <summary>Takes the lowest pending number, if there is one, and tells whether others are pending.</summary>
    public bool TryTake(out uint value, out bool hasMore)
    {
        lock (_lock)
        {
            value = 0;
            hasMore = false;
            for (int word = 0; word < Words; word++)
            {
                if (_pending[word] != 0)
                {
                    int bit = System.Numerics.BitOperations.TrailingZeroCount(_pending[word]);
                    _pending[word] &= _pending[word] - 1;
                    value = (uint)((word * 64) + bit);
                    hasMore = HasPending;
                    return true;
                }
            }

            return false;
        }
    }

    public void Save(StateWriter writer)
    {
        lock (_lock)
        {
            writer.WriteByte((byte)_state);
            foreach (ulong word in _pending)
            {
                writer.WriteUInt64(word);
            }
        }
    }

    public void Restore(StateReader reader)
    {
        byte state = reader.ReadByte();
        if (state > Stopping || (state != Off && !IsAvailable))
        {
            throw StateReader.Malformed($"{state} is no state of notifications");
        }

        bool hasPending;
        lock (_lock)
        {
            _state = state;
            foreach (ref ulong word in _pending.AsSpan())
            {
                word = reader.ReadUInt64();
            }

            hasPending = HasPending;
        }

        if (hasPending)
        {
            line?.Pulse();
        }
    }

    private bool HasPending => (_pending[0] | _pending[1] | _pending[2] | _pending[3]) != 0;
}
