using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Smccc;
using static OpTeeMediator.Tests.Conformance.MessageAttribute;
using static OpTeeMediator.Tests.Conformance.MessageCommand;
using static OpTeeMediator.Tests.Conformance.OpTeeFunction;
using static OpTeeMediator.Tests.Conformance.OpTeeReturn;

namespace OpTeeMediator.Tests.Conformance;

/// <summary>The guest's OP-TEE driver: writes messages, sends them, checks what came back.</summary>
/// <remarks>
/// One message at a time. Messages that register or unregister memory lie in an unregistered page and are sent by
/// address (CALL_WITH_RPC_ARG). All others lie in a registered page and are sent by its cookie and an offset
/// (CALL_WITH_REGD_ARG). Linux does the same.
/// </remarks>
internal abstract class ConformanceDriver(ISmcHandler smc, IGuestMemory memory) : CheckingGuest(smc, memory)
{
    /// <summary>The origin of an answer that is OP-TEE's own (TEE_ORIGIN_TEE).</summary>
    protected const uint OriginTee = 3;

    /// <summary>The origin of an answer of the trusted application (TEE_ORIGIN_TRUSTED_APP).</summary>
    protected const uint OriginApplication = 4;

    /// <summary>The login type that claims nothing (TEE_LOGIN_PUBLIC).</summary>
    private const uint LoginPublic = 0;

    private const ulong UnregisteredMessage = ConformanceProgram.RamStart + 0x10_0000;
    private const ulong PageList = ConformanceProgram.RamStart + 0x10_1000;
    private const ulong MessagePage = ConformanceProgram.RamStart + 0x10_2000;
    private const ulong RegisteredMessage = MessagePage + MessageOffset;

    // The second slot of the page: a slot has room for a message of 6 parameters and one of 4 for an RPC, as in Linux.
    private const ulong MessageOffset = 0x180;

    protected static readonly SharedBuffer Messages =
        new("messages", 0xffff_0000_0938_53c0, 0, SharedBuffer.PageSize, MessagePage);

    /// <summary>REGISTER_SHM by a list of pages.</summary>
    protected void Register(SharedBuffer buffer, TeeReturnCode expected = TeeReturnCode.Success)
    {
        for (int index = 0; index < buffer.Pages.Length; index++)
        {
            Store64(PageList + ((ulong)index * sizeof(ulong)), buffer.Pages[index]);
        }

        SendByAddress(
            REGISTER_SHM,
            new MessageParameter(TMEM_OUTPUT | NONCONTIG, PageList | buffer.FirstOffset, buffer.Length, buffer.Cookie));
        ExpectResult(UnregisteredMessage, expected);
    }

    protected void Unregister(SharedBuffer buffer)
    {
        SendByAddress(UNREGISTER_SHM, new MessageParameter(RMEM_INPUT, 0, 0, buffer.Cookie));
        ExpectResult(UnregisteredMessage, TeeReturnCode.Success);
    }

    /// <summary>OPEN_SESSION that must succeed.</summary>
    /// <param name="application">The trusted application.</param>
    /// <param name="session">Where in its RAM the guest keeps the session's number.</param>
    protected void OpenSession(Guid application, ulong session)
    {
        OpenSession(application, TeeReturnCode.Success, OriginApplication);
        Copy32(from: RegisteredMessage + MessageHeader.SessionOffset, to: session);
    }

    protected void OpenSession(Guid application, TeeReturnCode expected, uint origin)
    {
        WriteMessage(
            RegisteredMessage,
            OPEN_SESSION,
            0,
            MessageParameter.Uuid(application, 0),
            MessageParameter.Uuid(Guid.Empty, LoginPublic));
        SendByCookie();
        ExpectResult(RegisteredMessage, expected, origin);
    }

    protected void Invoke(
        ulong session,
        uint command,
        TeeReturnCode expected,
        uint origin,
        params ReadOnlySpan<MessageParameter> parameters)
    {
        WriteMessage(RegisteredMessage, INVOKE_COMMAND, command, parameters);
        Copy32(from: session, to: RegisteredMessage + MessageHeader.SessionOffset);
        SendByCookie();
        ExpectResult(RegisteredMessage, expected, origin);
    }

    protected void CloseSession(ulong session)
    {
        WriteMessage(RegisteredMessage, CLOSE_SESSION, 0);
        Copy32(from: session, to: RegisteredMessage + MessageHeader.SessionOffset);
        SendByCookie();
        ExpectResult(RegisteredMessage, TeeReturnCode.Success, OriginTee);
    }

    /// <summary>A message from an address that is not RAM.</summary>
    protected void SendFrom(ulong address, OpTeeReturn expected)
    {
        Call(CALL_WITH_RPC_ARG, address >> 32, (uint)address);
        ExpectRegister(0, (uint)expected);
    }

    /// <summary>The numbers of a parameter, after a call.</summary>
    protected void ExpectValue(int parameter, ulong a, ulong b)
    {
        ulong address = ParameterAddress(RegisteredMessage, parameter);
        Expect64(address + MessageParameter.FirstOffset, a, $"number a of parameter {parameter}");
        Expect64(address + MessageParameter.SecondOffset, b, $"number b of parameter {parameter}");
    }

    /// <summary>The size in a parameter, after a call.</summary>
    protected void ExpectSize(int parameter, ulong size)
    {
        ulong address = ParameterAddress(RegisteredMessage, parameter) + MessageParameter.SecondOffset;
        Expect64(address, size, $"size of parameter {parameter}");
    }

    private void SendByAddress(MessageCommand command, MessageParameter parameter)
    {
        WriteMessage(UnregisteredMessage, command, 0, parameter);
        Call(CALL_WITH_RPC_ARG, UnregisteredMessage >> 32, (uint)UnregisteredMessage);
    }

    private void SendByCookie() =>
        Call(CALL_WITH_REGD_ARG, Messages.Cookie >> 32, (uint)Messages.Cookie, MessageOffset);

    private void WriteMessage(
        ulong address,
        MessageCommand command,
        uint function,
        params ReadOnlySpan<MessageParameter> parameters)
    {
        // What OP-TEE has to fill in is not a valid answer before.
        const uint NotAnswered = 0xdead_dead;
        Store64(address + MessageHeader.CommandOffset, (uint)command | ((ulong)function << 32));
        Store64(address + MessageHeader.SessionOffset, 0);
        Store64(address + MessageHeader.PaddingOffset, (ulong)NotAnswered << 32);
        Store64(address + MessageHeader.ReturnOriginOffset, NotAnswered | ((ulong)parameters.Length << 32));
        for (int index = 0; index < parameters.Length; index++)
        {
            ulong parameter = ParameterAddress(address, index);
            Store64(parameter, (ulong)parameters[index].Attribute);
            Store64(parameter + MessageParameter.FirstOffset, parameters[index].A);
            Store64(parameter + MessageParameter.SecondOffset, parameters[index].B);
            Store64(parameter + MessageParameter.ThirdOffset, parameters[index].C);
        }
    }

    private void ExpectResult(ulong address, TeeReturnCode expected)
    {
        ExpectRegister(0, (uint)OK);
        Expect32(address + MessageHeader.ReturnOffset, (uint)expected, "return code");
    }

    private void ExpectResult(ulong address, TeeReturnCode expected, uint origin)
    {
        ExpectResult(address, expected);
        Expect32(address + MessageHeader.ReturnOriginOffset, origin, "origin");
    }

    private static ulong ParameterAddress(ulong message, int index) =>
        message + MessageHeader.Size + ((ulong)index * MessageParameter.Size);
}
