namespace OpTeeMediator.Calls;

/// <summary>A guest's call slots: as many as the guest was told threads.</summary>
internal sealed class CallSlots
{
    /// <summary>Where this thread found its last slot: vCPUs come to use slots and cache lines of their own.</summary>
    [ThreadStatic]
    private static int t_last;

    private readonly CallSlot[] _slots;
    private readonly CallWaiters _waiters = new();

    public CallSlots(ICallOwner owner, int count)
    {
        _slots = new CallSlot[count];
        for (int index = 0; index < count; index++)
        {
            _slots[index] = new CallSlot(owner, _waiters, index);
        }

        Standby = new CallSlot(owner, _waiters, -1);
    }

    /// <summary>A slot beside these, for calls that need none of their own.</summary>
    public CallSlot Standby { get; }

    public ReadOnlySpan<CallSlot> All => _slots;

    public CallSlot? TryTake()
    {
        int last = t_last;
        if ((uint)last < (uint)_slots.Length && _slots[last].TryTake())
        {
            return _slots[last];
        }

        foreach (CallSlot slot in _slots)
        {
            if (slot.TryTake())
            {
                t_last = slot.Index;
                return slot;
            }
        }

        return null;
    }

    public CallSlot? WithIndex(int index) => (uint)index < (uint)_slots.Length ? _slots[index] : null;

    public int CountOf(DriverInstance driverInstance)
    {
        int count = 0;
        foreach (CallSlot slot in _slots)
        {
            count += slot.DriverInstance == driverInstance ? 1 : 0;
        }

        return count;
    }

    public bool HasSleepers => Array.Exists(_slots, slot => slot.Sleep.IsActive);

    public bool AreDrained => Array.TrueForAll(_slots, slot => slot.IsDrained);

    public bool AreQuiet => Array.TrueForAll(_slots, slot => slot.IsQuiet);

    /// <summary>Whether every slot is held by a call of another driver instance.</summary>
    public bool AreHeldByOthersThan(DriverInstance driverInstance)
    {
        foreach (CallSlot slot in _slots)
        {
            if (slot.DriverInstance is not { } other || other == driverInstance)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Whether another call uses what this one takes away.</summary>
    /// <remarks>A slot that is free here is taken later, by a call that sees the taker's change of the tables: taking
    /// is a full fence, and so is the taker's entry into <see cref="DriverInstance.TablesLock"/>.</remarks>
    public bool IsUsedByOthers(CallSlot taker)
    {
        foreach (CallSlot slot in _slots)
        {
            if (slot.State != CallState.Free && slot != taker && slot.Uses(taker))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Waits for what the end of calls brings about: up to a millisecond longer than the timeout.</summary>
    public bool WaitUntil<T>(Func<CallSlots, T, bool> condition, T argument, TimeSpan timeout) =>
        _waiters.WaitUntil(condition, this, argument, timeout);

    public void WakeWaiters() => _waiters.Wake();
}
