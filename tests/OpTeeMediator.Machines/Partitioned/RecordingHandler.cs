using System.Collections.Immutable;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Machines.Partitioned;

/// <summary>Remembers what a guest says that others could abuse.</summary>
/// <param name="inner">Who answers the guest.</param>
public sealed class RecordingHandler(ISmcHandler inner) : ISmcHandler, IAsyncDisposable
{
    private ulong _messageCookie;

    public ISmcHandler Inner => inner;

    /// <summary>The cookie of the memory in which the guest's driver has its messages; 0 if it has said none.</summary>
    public ulong MessageCookie => Volatile.Read(ref _messageCookie);

    public ImmutableArray<SmcFunctionRange> Ranges => inner.Ranges;

    public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded)
    {
        if (registers.FunctionId.Value == OpTeeSmc.CallWithRegisteredArgument)
        {
            Volatile.Write(ref _messageCookie, registers.Pair(1, 2));
        }

        return inner.Handle(ref registers, loaded);
    }

    public ValueTask DisposeAsync() =>
        inner is IAsyncDisposable disposable ? disposable.DisposeAsync() : ValueTask.CompletedTask;
}
