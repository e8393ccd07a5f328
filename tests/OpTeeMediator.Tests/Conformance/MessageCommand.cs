namespace OpTeeMediator.Tests.Conformance;

/// <summary>What a message asks for, by the names of OP-TEE's <c>optee_msg.h</c> (OPTEE_MSG_CMD_*).</summary>
internal enum MessageCommand : uint
{
    OPEN_SESSION = 0,
    INVOKE_COMMAND = 1,
    CLOSE_SESSION = 2,
    REGISTER_SHM = 4,
    UNREGISTER_SHM = 5,
}
