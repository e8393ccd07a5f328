using System.Collections.Frozen;
using System.Globalization;

namespace OpTeeMediator.Backends;

/// <summary>Which trusted applications a VM may reach.</summary>
/// <remarks>An application outside the list does not exist for the guest: OPEN_SESSION answers
/// TEE_ERROR_ITEM_NOT_FOUND, and the device enumeration leaves it out. Immutable, hence thread-safe.</remarks>
public sealed class TeeAccess
{
    private readonly FrozenSet<Guid>? _applications;

    private TeeAccess(FrozenSet<Guid>? applications) => _applications = applications;

    /// <summary>Every application of the TEE.</summary>
    public static TeeAccess All { get; } = new(null);

    /// <summary>No application.</summary>
    public static TeeAccess None { get; } = new(FrozenSet<Guid>.Empty);

    /// <summary>Only the named applications.</summary>
    /// <param name="applications">Their UUIDs.</param>
    /// <exception cref="ArgumentNullException"><paramref name="applications"/> is <see langword="null"/>.</exception>
    public static TeeAccess Only(params IEnumerable<Guid> applications)
    {
        ArgumentNullException.ThrowIfNull(applications);
        return new TeeAccess(applications.ToFrozenSet());
    }

    /// <summary>The named applications; <see langword="null"/> for every application.</summary>
    internal IReadOnlyCollection<Guid>? Applications => _applications;

    /// <summary>The list for a log entry: a long one is cut.</summary>
    internal string Describe()
    {
        const int Most = 16;
        return _applications switch
        {
            null => "every application",
            { Count: 0 } => "no application",
            { Count: 1 } => $"the application {_applications.Single()}",
            _ => string.Create(CultureInfo.InvariantCulture, $"{_applications.Count} applications (")
                + string.Join(", ", _applications.Order().Take(Most))
                + (_applications.Count > Most ? ", …)" : ")"),
        };
    }

    /// <summary>Whether the VM may reach an application.</summary>
    /// <param name="application">Its UUID.</param>
    public bool Allows(Guid application) => _applications is null || _applications.Contains(application);
}
