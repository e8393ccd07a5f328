using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.BenchmarkTests.Code;

/// <summary>Does what needs the runtime's native code and may be done by a call: stores a reference where the compiler
/// does not know whether it is in the heap (checked write barrier), and reads a variable of its thread.</summary>
internal sealed class RuntimeProbe : ISmcHandler
{
    [ThreadStatic]
    private static int t_count;

    private object? _stored;

    public ImmutableArray<SmcFunctionRange> Ranges => [];

    public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded)
    {
        t_count++;
        object? onStack = null;
        Store(ref _stored, this);
        Store(ref onStack, this);
        return SmcOutcome.NotHandled;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Store(ref object? place, object value) => place = value;
}
