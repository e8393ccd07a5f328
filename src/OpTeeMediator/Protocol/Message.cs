using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace OpTeeMediator.Protocol;

/// <summary>The private copy of a message: its header and as many parameters as any command uses.</summary>
/// <remarks>Read once from guest memory; nothing of the message is read from there again.</remarks>
[StructLayout(LayoutKind.Sequential)]
internal struct Message
{
    /// <summary>The parameters of the call itself that OPEN_SESSION puts first: UUID and client.</summary>
    public const int MetaParameters = 2;

    public const ulong MetaAttributes = OpTeeMessage.AttributeMeta | OpTeeMessage.TypeValueInput;

    /// <summary>The attributes of REGISTER_SHM's parameter: a list of pages.</summary>
    public const ulong PageListAttributes = OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous;

    /// <summary>The most parameters that an application has (TEE_NUM_PARAMS).</summary>
    public const int ApplicationParameters = 4;

    /// <summary>The most parameters that any command uses.</summary>
    public const int UsedParameters = MetaParameters + ApplicationParameters;

    public MessageHeader Header;
    public ParameterArray Parameters;

    /// <summary>The copy as bytes: <see cref="OpTeeMessage.Size"/> of <see cref="UsedParameters"/>.</summary>
    [UnscopedRef]
    public Span<byte> Bytes => MemoryMarshal.AsBytes(new Span<Message>(ref this));

    [InlineArray(UsedParameters)]
    public struct ParameterArray
    {
        private MessageParameter _element0;
    }
}
