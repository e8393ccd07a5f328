using System.Diagnostics;

namespace OpTeeMediator.Diagnostics;

/// <summary>Named points between two steps, at which a test stops one thread while another goes on.</summary>
/// <remarks>A call exists only in a compilation that defines INTERLEAVING_POINTS:
/// tests/OpTeeMediator.InterleavingTests. The shipped core has no call, and so no cost. The name of a point is its
/// type, its method and what has just happened there.</remarks>
internal static class InterleavingPoint
{
#if INTERLEAVING_POINTS
    /// <summary>Called by the thread that reaches a point, with the point's name.</summary>
    public static Action<string>? Reached { get; set; }
#endif

    [Conditional("INTERLEAVING_POINTS")]
    public static void Reach(string name)
    {
#if INTERLEAVING_POINTS
        Reached?.Invoke(name);
#endif
    }
}
