namespace OpTeeMediator.Backends;

/// <summary>Where the operations of a partition run.</summary>
/// <remarks>Immutable, hence thread-safe.</remarks>
public sealed class TeeExecutionPolicy
{
    private readonly Func<Guid, TeeExecution>? _ofApplication;

    private TeeExecutionPolicy(TeeExecution memory, Func<Guid, TeeExecution>? ofApplication)
    {
        Memory = memory;
        _ofApplication = ofApplication;
    }

    /// <summary>Every operation runs on a thread of its call, where it may block: the safe choice.</summary>
    public static TeeExecutionPolicy Worker { get; } = new(TeeExecution.Worker, null);

    /// <summary>Every operation runs on the vCPU's thread: all are short and never block.</summary>
    public static TeeExecutionPolicy Inline { get; } = new(TeeExecution.Inline, null);

    /// <summary>Where operations on registered memory run.</summary>
    internal TeeExecution Memory { get; }

    /// <summary>Operations run where the trusted application of their session wants it.</summary>
    /// <param name="ofApplication">Called with an application's UUID when a session with it is opened: where its
    /// opening, its commands and its closing run. Thread-safe, called on the vCPU's thread. An exception is a host
    /// fault, and refuses the session.</param>
    /// <param name="memory">Where memory is registered and unregistered.</param>
    /// <exception cref="ArgumentNullException"><paramref name="ofApplication"/> is <see langword="null"/>.</exception>
    public static TeeExecutionPolicy ByApplication(Func<Guid, TeeExecution> ofApplication, TeeExecution memory)
    {
        ArgumentNullException.ThrowIfNull(ofApplication);
        return new(memory, ofApplication);
    }

    /// <summary>Where the operations of a session run.</summary>
    internal TeeExecution OfApplication(Guid application) =>
        _ofApplication is null ? Memory : _ofApplication(application);
}
