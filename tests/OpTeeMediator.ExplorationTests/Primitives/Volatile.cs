using OpTeeMediator.ExplorationTests.Scheduling;

namespace OpTeeMediator;

/// <summary>Each read and write is a scheduling point. One thread runs at a time, so plain accesses suffice.</summary>
internal static class Volatile
{
    /// <summary>A volatile field is about to be read or written.</summary>
    public static void Reach() => Explorer.Reach("volatile field");

    public static T Read<T>(ref readonly T location)
    {
        Explorer.Reach("Volatile.Read");
        return location;
    }

    public static void Write<T>(ref T location, T value)
    {
        Explorer.Reach("Volatile.Write");
        location = value;
    }
}
