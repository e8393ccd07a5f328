namespace OpTeeMediator.Tests.Conformance;

/// <summary>A parameter's kind, by the names of OP-TEE's <c>optee_msg.h</c> (OPTEE_MSG_ATTR_*).</summary>
/// <remarks>The low byte is one of the types; <see cref="META"/> and <see cref="NONCONTIG"/> come on top.</remarks>
internal enum MessageAttribute : ulong
{
    VALUE_INPUT = 0x1,
    VALUE_OUTPUT = 0x2,
    VALUE_INOUT = 0x3,
    RMEM_INPUT = 0x5,
    RMEM_OUTPUT = 0x6,
    RMEM_INOUT = 0x7,
    TMEM_OUTPUT = 0xa,

    /// <summary>The parameter is for OP-TEE itself, not for the trusted application.</summary>
    META = 0x100,

    /// <summary>The address is that of a page list.</summary>
    NONCONTIG = 0x200,
}
