namespace OpTeeMediator.Protocol;

/// <summary>OP-TEE's message interface: what CALL_WITH_ARG and its kin point to.</summary>
/// <remarks>
/// Source, in this order: OP-TEE's <c>optee_msg.h</c>; each summary names the upstream constant.
/// All fields are little-endian.
/// <code>
/// struct optee_msg_arg, 32 bytes            struct optee_msg_param, 32 bytes, num_params of them
///  0 cmd         16 pad                      0 attr
///  4 func        20 ret                      8 value a   tmem buf_ptr   rmem offs
///  8 session     24 ret_origin              16 value b   tmem size      rmem size
/// 12 cancel_id   28 num_params              24 value c   tmem shm_ref   rmem shm_ref
/// </code>
/// </remarks>
public static class OpTeeMessage
{
    /// <summary>OPTEE_MSG_ATTR_TYPE_NONE.</summary>
    public const uint TypeNone = 0x0;

    /// <summary>OPTEE_MSG_ATTR_TYPE_VALUE_INPUT.</summary>
    public const uint TypeValueInput = 0x1;

    /// <summary>OPTEE_MSG_ATTR_TYPE_VALUE_OUTPUT.</summary>
    public const uint TypeValueOutput = 0x2;

    /// <summary>OPTEE_MSG_ATTR_TYPE_VALUE_INOUT.</summary>
    public const uint TypeValueInOut = 0x3;

    /// <summary>OPTEE_MSG_ATTR_TYPE_RMEM_INPUT: part of registered shared memory.</summary>
    public const uint TypeRegisteredInput = 0x5;

    /// <summary>OPTEE_MSG_ATTR_TYPE_RMEM_OUTPUT.</summary>
    public const uint TypeRegisteredOutput = 0x6;

    /// <summary>OPTEE_MSG_ATTR_TYPE_RMEM_INOUT.</summary>
    public const uint TypeRegisteredInOut = 0x7;

    /// <summary>OPTEE_MSG_ATTR_TYPE_TMEM_INPUT: memory that is named in the message itself.</summary>
    public const uint TypeTemporaryInput = 0x9;

    /// <summary>OPTEE_MSG_ATTR_TYPE_TMEM_OUTPUT.</summary>
    public const uint TypeTemporaryOutput = 0xa;

    /// <summary>OPTEE_MSG_ATTR_TYPE_TMEM_INOUT.</summary>
    public const uint TypeTemporaryInOut = 0xb;

    /// <summary>OPTEE_MSG_ATTR_TYPE_MASK.</summary>
    public const uint TypeMask = 0xff;

    /// <summary>OPTEE_MSG_ATTR_META: a parameter of the call itself, not of the trusted application.</summary>
    public const uint AttributeMeta = 1 << 8;

    /// <summary>OPTEE_MSG_ATTR_NONCONTIG: the buffer pointer names a page list.</summary>
    public const uint AttributeNonContiguous = 1 << 9;

    /// <summary>OPTEE_MSG_NONCONTIG_PAGE_SIZE: the size of a list's pages and of its parts, in bytes.</summary>
    public const int PageSize = 4096;

    /// <summary>The number of addresses in one page of a page list; after them its successor's.</summary>
    public const int AddressesPerListPage = (PageSize / sizeof(ulong)) - 1;

    /// <summary>sizeof(struct optee_msg_arg).</summary>
    public const int HeaderSize = 32;

    /// <summary>sizeof(struct optee_msg_param).</summary>
    public const int ParameterSize = 32;

    /// <summary>OPTEE_MSG_MAX_NUM_PARAMS: what fits a page behind the header.</summary>
    public const int MaximumParameters = (PageSize - HeaderSize) / ParameterSize;

    /// <summary>OPTEE_MSG_CMD_OPEN_SESSION.</summary>
    public const uint CommandOpenSession = 0;

    /// <summary>OPTEE_MSG_CMD_INVOKE_COMMAND.</summary>
    public const uint CommandInvoke = 1;

    /// <summary>OPTEE_MSG_CMD_CLOSE_SESSION.</summary>
    public const uint CommandCloseSession = 2;

    /// <summary>OPTEE_MSG_CMD_CANCEL.</summary>
    public const uint CommandCancel = 3;

    /// <summary>OPTEE_MSG_CMD_REGISTER_SHM.</summary>
    public const uint CommandRegisterSharedMemory = 4;

    /// <summary>OPTEE_MSG_CMD_UNREGISTER_SHM.</summary>
    public const uint CommandUnregisterSharedMemory = 5;

    /// <summary>OPTEE_MSG_CMD_DO_BOTTOM_HALF: the guest's answer to notification 0.</summary>
    public const uint CommandDoBottomHalf = 6;

    /// <summary>OPTEE_MSG_CMD_STOP_ASYNC_NOTIF: the guest takes no more notifications.</summary>
    public const uint CommandStopAsyncNotification = 7;

    /// <summary>OPTEE_MSG_CMD_LEND_PROTMEM: lends memory to be protected. Answered EBADCMD.</summary>
    public const uint CommandLendProtectedMemory = 8;

    /// <summary>OPTEE_MSG_CMD_RECLAIM_PROTMEM: takes lent memory back. Answered EBADCMD.</summary>
    public const uint CommandReclaimProtectedMemory = 9;

    /// <summary>OPTEE_MSG_CMD_GET_PROTMEM_CONFIG: what memory a use case needs. Answered EBADCMD.</summary>
    public const uint CommandGetProtectedMemoryConfig = 10;

    /// <summary>OPTEE_MSG_CMD_ASSIGN_PROTMEM: assigns a use case to memory lent by FF-A. Answered EBADCMD.</summary>
    public const uint CommandAssignProtectedMemory = 11;

    /// <summary>OPTEE_MSG_GET_ARG_SIZE: the size of a message in bytes.</summary>
    /// <param name="parameters">The number of parameters, 0 to <see cref="MaximumParameters"/>.</param>
    public static int Size(int parameters) => HeaderSize + (parameters * ParameterSize);
}
