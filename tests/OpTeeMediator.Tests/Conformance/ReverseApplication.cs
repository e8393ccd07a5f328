using System.Buffers.Binary;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using static OpTeeMediator.Backends.TeeParameterKind;

namespace OpTeeMediator.Tests.Conformance;

/// <summary>A trusted application: writes numbers and memory backwards.</summary>
internal sealed class ReverseApplication : TrustedApplication
{
    /// <summary>
    /// Command: swaps the bytes of the two numbers of parameter 0; parameter 1 is the number of calls in the session.
    /// </summary>
    public const uint ReverseNumbers = 1;

    /// <summary>Command: writes the bytes of parameter 0 into parameter 1, last one first.</summary>
    public const uint ReverseBytes = 2;

    public static readonly Guid Uuid = new("6d2f4f5e-3a53-4b0e-9a3c-1f0d7c9be001");

    // Each session has an instance of its own.
    private uint _count;

    /// <inheritdoc/>
    protected internal override TeeReturnCode InvokeCommand(ApplicationCall call) => call.CommandId switch
    {
        ReverseNumbers when call.HasParameters(ValueInOut, ValueOutput) =>
            ReverseBoth(numbers: call[0], count: call[1]),
        ReverseBytes when call.HasParameters(MemoryInput, MemoryOutput) =>
            ReverseMemory(source: call[0], target: call[1]),
        _ => TeeReturnCode.BadParameters,
    };

    private TeeReturnCode ReverseBoth(ApplicationParameter numbers, ApplicationParameter count)
    {
        numbers.A = BinaryPrimitives.ReverseEndianness(numbers.A);
        numbers.B = BinaryPrimitives.ReverseEndianness(numbers.B);
        count.A = ++_count;
        return TeeReturnCode.Success;
    }

    private static TeeReturnCode ReverseMemory(ApplicationParameter source, ApplicationParameter target)
    {
        byte[] bytes = new byte[source.Size];
        if (!source.TryRead(0, bytes))
        {
            return TeeReturnCode.BadParameters;
        }

        bytes.AsSpan().Reverse();
        return target.Write(bytes);
    }
}
