using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.BenchmarkTests.Code;

/// <summary>A handler with a fault.</summary>
internal sealed class FaultyHandler(KnownFault fault) : ISmcHandler
{
    private object? _kept;

    public ImmutableArray<SmcFunctionRange> Ranges => [];

    [MethodImpl(MethodImplOptions.NoInlining)]
    public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded)
    {
        switch (fault)
        {
            case KnownFault.Object:
                _kept = new object();
                break;

            case KnownFault.Array:
                _kept = new ulong[1];
                break;

            case KnownFault.Boxing:
                _kept = registers.X1;
                break;

            case KnownFault.Monitor:
                lock (this)
                {
                    _kept = this;
                }

                break;

            default:
                try
                {
                    ArgumentNullException.ThrowIfNull(_kept);
                }
                catch (ArgumentNullException)
                {
                    // That is the fault.
                }

                break;
        }

        return SmcOutcome.NotHandled;
    }
}
