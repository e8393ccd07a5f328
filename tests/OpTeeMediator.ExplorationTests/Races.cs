namespace OpTeeMediator.ExplorationTests;

/// <summary>Which race is put back; the prepared core asks.</summary>
internal static class Races
{
    public static KnownRace PutBack { get; set; }

    public static bool Has(KnownRace race) => PutBack == race;

    /// <summary>A compare-and-swap, or with the race a read and then a write.</summary>
    public static bool TrySet(KnownRace race, ref int location, int value, int expected)
    {
        if (PutBack != race)
        {
            return Interlocked.CompareExchange(ref location, value, expected) == expected;
        }

        if (Volatile.Read(ref location) != expected)
        {
            return false;
        }

        Volatile.Write(ref location, value);
        return true;
    }

    /// <summary>An exchange for nothing, or with the race a read and then a write.</summary>
    public static T? Take<T>(KnownRace race, ref T? location)
        where T : class
    {
        if (PutBack != race)
        {
            return Interlocked.Exchange(ref location, null);
        }

        T? taken = Volatile.Read(ref location);
        Volatile.Write(ref location, null);
        return taken;
    }
}
