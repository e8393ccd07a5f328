namespace OpTeeMediator.Fuzzing.Engine;

/// <summary>One part of the library that reads what a guest, or another process, has written.</summary>
/// <remarks>Objects that cost much to make live as long as the target and are used by each execution. Not
/// thread-safe.</remarks>
public abstract class FuzzTarget
{
    /// <summary>The longest input, in bytes.</summary>
    public virtual int MaximumLength => 512;

    /// <summary>Inputs by which coverage begins.</summary>
    public abstract IEnumerable<byte[]> Seeds { get; }

    /// <summary>Executes an input and checks what must hold.</summary>
    /// <exception cref="PropertyException">It does not hold. Any other exception is a finding, too.</exception>
    public abstract void Execute(ReadOnlySpan<byte> input);

    protected static void Require(bool holds, string what)
    {
        if (!holds)
        {
            throw new PropertyException(what);
        }
    }

    /// <summary>Waits for what another thread does, without a sleep in most cases.</summary>
    protected static void Wait(Func<bool> condition, string what)
    {
        for (int round = 0; round < 10_000; round++)
        {
            if (condition())
            {
                return;
            }

            _ = Thread.Yield();
        }

        Require(SpinWait.SpinUntil(condition, TimeSpan.FromMinutes(1)), what);
    }
}
