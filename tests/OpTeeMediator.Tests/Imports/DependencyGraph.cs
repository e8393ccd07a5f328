namespace OpTeeMediator.Tests.Imports;

/// <summary>What imports what: names of folders or of files, and an edge from each to what it uses.</summary>
internal sealed class DependencyGraph
{
    private readonly SortedDictionary<string, SortedSet<string>> _edges = new(StringComparer.Ordinal);

    public void Add(string user, string used)
    {
        SortedSet<string> targets = EdgesOf(user);
        _ = EdgesOf(used);
        if (user != used)
        {
            _ = targets.Add(used);
        }
    }

    public bool Uses(string user, string used) =>
        _edges.TryGetValue(user, out SortedSet<string>? edges) && edges.Contains(used);

    /// <summary>The circles: the largest sets in which each uses each other, directly or through others.</summary>
    public IEnumerable<string[]> Circles()
    {
        Dictionary<string, HashSet<string>> reached = _edges.Keys.ToDictionary(node => node, ReachedFrom);
        HashSet<string> seen = [];
        foreach (string node in _edges.Keys.Where(node => reached[node].Contains(node)))
        {
            if (!seen.Contains(node))
            {
                string[] circle = [.. _edges.Keys
                    .Where(other => reached[node].Contains(other) && reached[other].Contains(node))];
                seen.UnionWith(circle);
                yield return circle;
            }
        }
    }

    private HashSet<string> ReachedFrom(string node)
    {
        HashSet<string> reached = [];
        Stack<string> pending = new(_edges[node]);
        while (pending.TryPop(out string? next))
        {
            if (reached.Add(next))
            {
                foreach (string target in _edges[next])
                {
                    pending.Push(target);
                }
            }
        }

        return reached;
    }

    private SortedSet<string> EdgesOf(string node)
    {
        if (!_edges.TryGetValue(node, out SortedSet<string>? edges))
        {
            edges = new SortedSet<string>(StringComparer.Ordinal);
            _edges.Add(node, edges);
        }

        return edges;
    }
}
