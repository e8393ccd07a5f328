using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using OpTeeMediator.Benchmarks.Scenarios;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.BenchmarkTests.Code;

/// <summary>Makes one call over and over on a thread, in a process that is observed.</summary>
internal static class RepeatedCall
{
    /// <summary>The name of the thread.</summary>
    public const string ThreadName = "repeated-call";

    /// <summary>Runs until the standard input ends.</summary>
    /// <param name="name">A scenario of the benchmarks, or a <see cref="KnownFault"/>.</param>
    public static void Run(string name)
    {
        ISmcHandler handler;
        SmcRegisters registers = default;
        if (Enum.TryParse(name, out KnownFault fault))
        {
            handler = new FaultyHandler(fault);
        }
        else
        {
            ISingleCall call = (ISingleCall)MeasuredScenario.All.Single(one => one.Name == name).Create();
            handler = call.Handler;
            registers = call.Registers;
        }

        new Thread(() => Repeat(new RuntimeProbe(), handler, registers)) { IsBackground = true, Name = ThreadName }
            .Start();
        _ = Console.In.ReadToEnd();
    }

    // Never optimized: so the handlers are called, and not inlined here.
    [DoesNotReturn]
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.NoOptimization)]
    private static void Repeat(RuntimeProbe probe, ISmcHandler handler, SmcRegisters call)
    {
        while (true)
        {
            SmcRegisters registers = call;
            _ = probe.Handle(ref registers, SmcRegisterSet.All);
            registers = call;
            _ = handler.Handle(ref registers, SmcRegisterSet.All);
            if (registers.X0 != 0)
            {
                throw new InvalidOperationException($"The call was answered 0x{registers.X0:x}.");
            }
        }
    }
}
