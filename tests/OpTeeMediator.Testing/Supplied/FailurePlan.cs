using System.Collections.Concurrent;

namespace OpTeeMediator.Testing.Supplied;

/// <summary>Counts the calls of each method that the VMM supplies, and has one call of one of them fail.</summary>
/// <remarks>Thread-safe.</remarks>
public sealed class FailurePlan
{
    private readonly ConcurrentDictionary<string, int> _calls = new();
    private readonly int _number;
    private readonly Failure _failure;
    private volatile bool _isActive = true;

    public FailurePlan()
    {
    }

    /// <param name="method">The method, as <see cref="Calls"/> names it.</param>
    /// <param name="number">Which of its calls, from 1 on.</param>
    /// <param name="failure">How it fails.</param>
    public FailurePlan(string method, int number, Failure failure)
    {
        Method = method;
        _number = number;
        _failure = failure;
    }

    /// <summary>The method of which a call fails.</summary>
    public string? Method { get; }

    /// <summary>How often each method was called before <see cref="Disarm"/>.</summary>
    public IReadOnlyDictionary<string, int> Calls => _calls;

    public bool HasFailed { get; private set; }

    /// <summary>From now on no call fails or is counted.</summary>
    public void Disarm() => _isActive = false;

    /// <summary>Ends <see cref="Disarm"/>.</summary>
    public void Arm() => _isActive = true;

    /// <summary>Called at the beginning of a method that returns no task.</summary>
    /// <exception cref="SuppliedPartException">This call is to fail.</exception>
    public void Enter(string method)
    {
        if (Fails(method))
        {
            throw new SuppliedPartException(method);
        }
    }

    /// <summary>Called at the beginning of a method that returns a task.</summary>
    /// <returns>The task to return; <see langword="null"/> if the call does not fail.</returns>
    /// <exception cref="SuppliedPartException">This call is to throw.</exception>
    public Task<T>? EnterAsync<T>(string method)
    {
        if (!Fails(method))
        {
            return null;
        }

        SuppliedPartException exception = new(method);
        return _failure switch
        {
            Failure.ReturnsFailedTask => Task.FromException<T>(exception),
            Failure.ReturnsCanceledTask => Task.FromCanceled<T>(new CancellationToken(canceled: true)),
            _ => throw exception,
        };
    }

    private bool Fails(string method)
    {
        if (!_isActive)
        {
            return false;
        }

        int number = _calls.AddOrUpdate(method, 1, static (_, count) => count + 1);
        bool fails = method == Method && number == _number;
        HasFailed |= fails;
        return fails;
    }
}
