using System.Buffers;
using System.Buffers.Binary;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using static OpTeeMediator.Backends.TeeParameterKind;

namespace KvmVmm.Tee;

/// <summary>
/// A trusted application of our own, for <c>--tee software</c>: adds numbers, and gives back what it gets.
/// </summary>
internal sealed class SumApplication : TrustedApplication, ISavableApplication
{
    /// <summary>
    /// Command: parameter 0 (value, inout): a becomes a + b, b becomes the sum of all that the session has added.
    /// </summary>
    public const uint Add = 0;

    /// <summary>Command: parameter 1 (memory, output) gets the bytes of parameter 0 (memory, input).</summary>
    public const uint Echo = 1;

    /// <summary>The application's UUID.</summary>
    public static readonly Guid Uuid = new("3c2f1b0e-5a4d-4f6e-8b7c-9d0e1f2a3b4c");

    // The client decides how much it sends, but not how much the VMM allocates for it.
    private const int MostBytes = 4 << 20;

    /// <summary>The text of --list.</summary>
    public static string Description { get; } =
        Uuid + "  command 0 adds (a value), command 1 echoes (memory to memory)";

    // Each session has an instance of its own.
    private uint _total;

    /// <inheritdoc/>
    public void SaveInstance(IBufferWriter<byte> state)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(state.GetSpan(sizeof(uint)), _total);
        state.Advance(sizeof(uint));
    }

    /// <inheritdoc/>
    public void RestoreInstance(ReadOnlySpan<byte> state) => _total = BinaryPrimitives.ReadUInt32LittleEndian(state);

    /// <inheritdoc/>
    protected override TeeReturnCode InvokeCommand(ApplicationCall call) => call.CommandId switch
    {
        Add when call.HasParameters(ValueInOut) => AddNumbers(call[0]),
        Echo when call.HasParameters(MemoryInput, MemoryOutput) => EchoMemory(source: call[0], target: call[1]),
        _ => TeeReturnCode.BadParameters,
    };

    private TeeReturnCode AddNumbers(ApplicationParameter numbers)
    {
        uint sum = unchecked(numbers.A + numbers.B);
        _total = unchecked(_total + sum);
        numbers.A = sum;
        numbers.B = _total;
        return TeeReturnCode.Success;
    }

    private static TeeReturnCode EchoMemory(ApplicationParameter source, ApplicationParameter target)
    {
        TeeReturnCode code = source.ReadAll(MostBytes, out byte[] bytes);
        return code == TeeReturnCode.Success ? target.Write(bytes) : code;
    }
}
