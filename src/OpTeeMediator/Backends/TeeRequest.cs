using System.Runtime.CompilerServices;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Backends;

/// <summary>One operation for a backend: what is asked, by whom, with which parameters.</summary>
/// <remarks>The mediator keeps one object per call slot and uses it again: a backend keeps no reference to it after the
/// operation has ended. It belongs to the thread that runs the operation; only <see cref="IsCancellationRequested"/>
/// and <see cref="IsTerminationRequested"/> change meanwhile.</remarks>
public sealed class TeeRequest
{
    /// <summary>How many parameters an operation has (TEE_NUM_PARAMS).</summary>
    public const int ParameterCount = Message.ApplicationParameters;

    private ParameterArray _parameters;
    private int _isCancellationRequested;
    private int _isTerminationRequested;

    /// <summary>Creates a request, for tests of a backend; in a VMM the mediator makes them.</summary>
    /// <param name="parameters">Up to four parameters; the others are <see cref="TeeParameterKind.None"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException">There are more than four.</exception>
    public TeeRequest(params ReadOnlySpan<TeeParameter> parameters)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(parameters.Length, ParameterCount, nameof(parameters));
        parameters.CopyTo(_parameters);
    }

    /// <summary>The operation.</summary>
    public TeeOperation Operation { get; set; }

    /// <summary>The trusted application's UUID. Only for <see cref="TeeOperation.OpenSession"/>.</summary>
    public Guid Application { get; set; }

    /// <summary>Who opens the session, as the guest claims. Only for <see cref="TeeOperation.OpenSession"/>.</summary>
    public ClientIdentity Client { get; set; }

    /// <summary>The command to invoke. Only for <see cref="TeeOperation.InvokeCommand"/>.</summary>
    public uint CommandId { get; set; }

    /// <summary>The session: the backend sets it when an <see cref="TeeOperation.OpenSession"/> succeeds.</summary>
    public ITeeSession? Session { get; set; }

    /// <summary>The four parameters; outputs are set with <see cref="SetValue"/> and <see cref="SetSize"/>.</summary>
    public ReadOnlySpan<TeeParameter> Parameters => _parameters;

    /// <summary>The same, for the mediator, which decodes them.</summary>
    internal Span<TeeParameter> WritableParameters => _parameters;

    /// <summary>The calls to the guest while the operation runs; <see langword="null"/> for none.</summary>
    public GuestServices? Guest { get; internal init; }

    /// <summary>The operation of the application that makes this one; none if the guest makes it.</summary>
    internal IOuterOperation? Outer { get; init; }

    /// <summary>Whether the client or the VMM wants the operation to end early. It may be true when the operation
    /// begins; <see cref="ITeePartition.Cancel"/> tells when it becomes true while the operation runs.</summary>
    public bool IsCancellationRequested
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Volatile.Read(ref _isCancellationRequested) != 0 || Outer is { IsCancellationRequested: true };
    }

    /// <summary>Whether the VM is being reset or disposed of, so that nothing may delay the operation's end: neither an
    /// application that masks cancellations, nor a wait. It implies <see cref="IsCancellationRequested"/>.</summary>
    public bool IsTerminationRequested
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Volatile.Read(ref _isTerminationRequested) != 0 || Outer is { IsTerminationRequested: true };
    }

    /// <summary>Sets the two numbers of a value. The guest receives them if the value is an output.</summary>
    /// <param name="index">Which parameter: 0 to 3.</param>
    /// <param name="a">The first number.</param>
    /// <param name="b">The second number.</param>
    /// <exception cref="IndexOutOfRangeException"><paramref name="index"/> is none of these.</exception>
    /// <remarks>Does nothing if the parameter is no value: its kind is the guest's choice.</remarks>
    public void SetValue(int index, ulong a, ulong b)
    {
        ref TeeParameter parameter = ref WritableParameters[index];
        if (parameter.IsValue)
        {
            parameter.A = a;
            parameter.B = b;
        }
    }

    /// <summary>Sets the size of a memory reference: how much was written or, with
    /// <see cref="TeeReturnCode.ShortBuffer"/>, how much is needed. The guest gets that of an output.</summary>
    /// <param name="index">Which parameter: 0 to 3.</param>
    /// <param name="size">The size in bytes; it may exceed <see cref="TeeParameter.Capacity"/>.</param>
    /// <exception cref="IndexOutOfRangeException"><paramref name="index"/> is none of these.</exception>
    /// <remarks>Does nothing if the parameter is no memory reference: its kind is the guest's choice.</remarks>
    public void SetSize(int index, ulong size)
    {
        ref TeeParameter parameter = ref WritableParameters[index];
        if (parameter.IsMemory)
        {
            parameter.Size = size;
        }
    }

    /// <summary>Requests it, with a full fence, and tells whether nobody has before.</summary>
    internal bool RequestCancellation() => Interlocked.Exchange(ref _isCancellationRequested, 1) == 0;

    /// <summary>Requests both, with a full fence, and tells whether nobody has requested the second.</summary>
    internal bool RequestTermination()
    {
        _ = RequestCancellation();
        return Interlocked.Exchange(ref _isTerminationRequested, 1) == 0;
    }

    internal void ResetCancellation()
    {
        Volatile.Write(ref _isCancellationRequested, 0);
        Volatile.Write(ref _isTerminationRequested, 0);
    }

    [InlineArray(ParameterCount)]
    private struct ParameterArray
    {
        private TeeParameter _element0;
    }
}
