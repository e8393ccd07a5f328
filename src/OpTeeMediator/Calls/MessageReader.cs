using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Memory;
using OpTeeMediator.Messages;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Calls;

/// <summary>Finds a call's message, copies it once, checks it, and resolves what it refers to.</summary>
/// <param name="memory">The guest's memory.</param>
/// <param name="reserved">The reserved shared memory, if there is any.</param>
internal sealed class MessageReader(NonThrowingGuestMemory memory, GuestRange? reserved)
{
    /// <summary>How many parameters an RPC message has room for; the guest is told at EXCHANGE_CAPABILITIES.</summary>
    public const int RpcParameters = 4;

    /// <summary>Prepares a call in its slot. Has no effect outside of it, so that it can be done again.</summary>
    /// <param name="slot">The slot.</param>
    /// <param name="registers">The registers of the call.</param>
    /// <param name="driverInstance">The driver instance that the call belongs to.</param>
    /// <param name="refusal">What the message itself is to be answered; success to go on.</param>
    /// <returns>OPTEE_SMC_RETURN_OK, or what the SMC is to be answered.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public uint Prepare(
        CallSlot slot, in SmcRegisters registers, DriverInstance driverInstance, out TeeReturnCode refusal)
    {
        refusal = TeeReturnCode.Success;
        slot.Clear();
        slot.Refusal = null;
        uint functionId = registers.FunctionId.WithoutHint.Value;
        if (!MessageLocator.TryFind(functionId, registers, driverInstance.Memory, reserved, out GuestRange place)
            || place.Length < OpTeeMessage.HeaderSize)
        {
            return slot.Refuse(OpTeeSmc.ReturnBadAddress, RefusalReason.NoMessage);
        }

        ref Message message = ref slot.Message;
        Span<byte> bytes = message.Bytes;
        if (!memory.TryRead(place.Start, place.Length < (ulong)bytes.Length ? bytes[..(int)place.Length] : bytes))
        {
            return slot.Refuse(OpTeeSmc.ReturnBadAddress, RefusalReason.MessageOutsideRam);
        }

        uint parameters = message.Header.ParameterCount;
        int rpcSize = functionId == OpTeeSmc.CallWithArgument ? 0 : OpTeeMessage.Size(RpcParameters);
        if (parameters > OpTeeMessage.MaximumParameters
            || (ulong)(OpTeeMessage.Size((int)parameters) + rpcSize) > place.Length)
        {
            return slot.Refuse(OpTeeSmc.ReturnBadAddress, RefusalReason.MessageTooLong);
        }

        slot.MessageAddress = place.Start;
        slot.RpcOffset = rpcSize == 0 ? 0 : OpTeeMessage.Size((int)parameters);
        switch (message.Header.Command)
        {
            case OpTeeMessage.CommandInvoke:
                refusal = ResolveParameters(slot, driverInstance);
                if (refusal == TeeReturnCode.Success)
                {
                    Session? session = driverInstance.Sessions.Find(message.Header.Session);
                    slot.Session = session;
                    InterleavingPoint.Reach("MessageReader.Prepare: session published");
                    refusal = session is { IsOpen: true } ? TeeReturnCode.Success
                        : slot.Refuse(TeeReturnCode.BadParameters, RefusalReason.UnknownSession);
                }

                break;

            case OpTeeMessage.CommandOpenSession:
                slot.FirstParameter = Message.MetaParameters;
                refusal = ReadMetaParameters(slot);
                if (refusal == TeeReturnCode.Success)
                {
                    refusal = ResolveParameters(slot, driverInstance);
                }

                break;

            default:
                break;
        }

        return OpTeeSmc.ReturnOk;
    }

    /// <summary>OPEN_SESSION's first two parameters: the application's UUID, and who asks.</summary>
    private static TeeReturnCode ReadMetaParameters(CallSlot slot)
    {
        const ulong Meta = OpTeeMessage.AttributeMeta | OpTeeMessage.TypeValueInput;
        ref Message message = ref slot.Message;
        if (message.Header.ParameterCount < Message.MetaParameters
            || message.Parameters[0].Attributes != Meta
            || message.Parameters[1].Attributes != Meta)
        {
            return slot.Refuse(TeeReturnCode.BadParameters, RefusalReason.MetaMissing);
        }

        TeeLogin login = (TeeLogin)message.Parameters[1].C;
        bool hasIdentity = login is TeeLogin.User or TeeLogin.Group or TeeLogin.Application or TeeLogin.UserApplication
            or TeeLogin.GroupApplication;
        if (!hasIdentity && login is not (TeeLogin.Public or TeeLogin.Kernel))
        {
            return slot.Refuse(TeeReturnCode.BadParameters, RefusalReason.UnknownLogin);
        }

        slot.Request.Application = message.Parameters[0].Uuid;
        slot.Request.Client = new ClientIdentity(login, hasIdentity ? message.Parameters[1].Uuid : Guid.Empty);
        return TeeReturnCode.Success;
    }

    private static TeeReturnCode ResolveParameters(CallSlot slot, DriverInstance driverInstance)
    {
        ref Message message = ref slot.Message;
        int count = (int)message.Header.ParameterCount - slot.FirstParameter;
        if (count > TeeRequest.ParameterCount)
        {
            return slot.Refuse(TeeReturnCode.BadParameters, RefusalReason.TooManyParameters);
        }

        Span<TeeParameter> parameters = slot.Request.WritableParameters;
        for (int index = 0; index < parameters.Length; index++)
        {
            if (index >= count)
            {
                parameters[index].SetNone();
                continue;
            }

            // Most parameters are values or none: those need no lookup, and no call.
            ref readonly MessageParameter source = ref message.Parameters[slot.FirstParameter + index];
            uint plain = (uint)source.Attributes & (OpTeeMessage.TypeMask | OpTeeMessage.AttributeMeta);
            if (plain <= OpTeeMessage.TypeValueInOut)
            {
                parameters[index].SetValue((TeeParameterKind)plain, source.A, source.B);
                continue;
            }

            TeeReturnCode refusal = Resolve(source, ref parameters[index], index, slot, driverInstance);
            if (refusal != TeeReturnCode.Success)
            {
                return refusal;
            }
        }

        return TeeReturnCode.Success;
    }

    private static TeeReturnCode Resolve(
        in MessageParameter source, ref TeeParameter parameter, int index, CallSlot slot, DriverInstance driverInstance)
    {
        if ((source.Attributes & OpTeeMessage.AttributeMeta) != 0)
        {
            return slot.Refuse(TeeReturnCode.BadParameters, RefusalReason.MetaAttribute);
        }

        uint type = source.Type;
        switch (type)
        {
            case OpTeeMessage.TypeRegisteredInput:
            case OpTeeMessage.TypeRegisteredOutput:
            case OpTeeMessage.TypeRegisteredInOut:
                SharedBuffer? buffer = driverInstance.Memory.Find(source.C);
                if (buffer is not { IsUsable: true })
                {
                    if (!source.IsNothing)
                    {
                        return slot.Refuse(TeeReturnCode.BadParameters, RefusalReason.UnknownCookie);
                    }

                    // U-Boot's NULL. OP-TEE finds the message's own page by cookie 0, and a
                    // reference of size 0 fits it.
                    parameter.SetMemory((TeeParameterKind)type, null, 0, 0);
                    return TeeReturnCode.Success;
                }

                if (source.A > buffer.Size || source.B > buffer.Size - source.A)
                {
                    return slot.Refuse(TeeReturnCode.Security, RefusalReason.OutsideBuffer);
                }

                InterleavingPoint.Reach("MessageReader.Resolve: buffer found");
                slot.Use(index, buffer);
                parameter.SetMemory((TeeParameterKind)type, buffer, source.A, source.B);
                return TeeReturnCode.Success;

            case OpTeeMessage.TypeTemporaryInput:
            case OpTeeMessage.TypeTemporaryOutput:
            case OpTeeMessage.TypeTemporaryInOut:
                // NULL is understood whether or not it was agreed on; other memory is attached when
                // all else is known to be right.
                parameter.SetMemory((TeeParameterKind)(type - OpTeeMessage.TypeTemporaryInput
                    + OpTeeMessage.TypeRegisteredInput), null, 0, source.A == 0 ? 0 : source.B);
                slot.NeedsTemporaryBuffers |= source.A != 0;
                return TeeReturnCode.Success;

            default:
                return slot.Refuse(TeeReturnCode.BadParameters, RefusalReason.UnknownType);
        }
    }
}
