using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Memory;
using OpTeeMediator.Messages;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Calls;

/// <summary>Prepares a call in its slot: its message's copy, its request, and what of the tables it uses.</summary>
internal sealed class CallPreparation(NonThrowingGuestMemory memory, GuestRange? reserved)
{
    private readonly MessageReader _reader = new(memory, RpcMessages.ParameterCount);

    /// <summary>Prepares a call. Has no effect outside of its slot, so that it can be done again.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public Refusal? Prepare(CallSlot slot, in SmcRegisters registers, DriverInstance driverInstance)
    {
        slot.Clear();
        uint functionId = registers.FunctionId.WithoutHint.Value;
        if (!MessageLocator.TryFind(functionId, registers, driverInstance.Memory, reserved, out GuestRange place))
        {
            return Refusal.NoMessage;
        }

        ref Message message = ref slot.Message;
        Refusal? refusal = _reader.Read(functionId, place, ref message, out int rpcOffset);
        if (refusal is not null)
        {
            return refusal;
        }

        slot.MessageAddress = place.Start;
        slot.RpcOffset = rpcOffset;
        switch (message.Header.Command)
        {
            case OpTeeMessage.CommandInvoke:
                refusal = ResolveParameters(slot, driverInstance);
                if (refusal is not null)
                {
                    return refusal;
                }

                Session? session = driverInstance.Sessions.Find(message.Header.Session);
                slot.Session = session;
                InterleavingPoint.Reach("CallPreparation.Prepare: session published");
                return session is { IsOpen: true } ? null : Refusal.UnknownSession;

            case OpTeeMessage.CommandOpenSession:
                slot.FirstParameter = Message.MetaParameters;
                refusal = ReadMetaParameters(slot);
                return refusal is null ? ResolveParameters(slot, driverInstance) : refusal;

            default:
                return null;
        }
    }

    /// <summary>OPEN_SESSION's first two parameters: the application's UUID, and who asks.</summary>
    private static Refusal? ReadMetaParameters(CallSlot slot)
    {
        ref Message message = ref slot.Message;
        if (message.Header.ParameterCount < Message.MetaParameters
            || message.Parameters[0].Attributes != Message.MetaAttributes
            || message.Parameters[1].Attributes != Message.MetaAttributes)
        {
            return Refusal.MetaMissing;
        }

        ref readonly MessageParameter client = ref message.Parameters[1];
        if (!ClientIdentity.TryClaim((TeeLogin)client.C, client.Uuid, out ClientIdentity identity))
        {
            return Refusal.UnknownLogin;
        }

        slot.Request.Application = message.Parameters[0].Uuid;
        slot.Request.Client = identity;
        return null;
    }

    private static Refusal? ResolveParameters(CallSlot slot, DriverInstance driverInstance)
    {
        ref Message message = ref slot.Message;
        int count = (int)message.Header.ParameterCount - slot.FirstParameter;
        if (count > TeeRequest.ParameterCount)
        {
            return Refusal.TooManyParameters;
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

            Refusal? refusal = Resolve(source, ref parameters[index], index, slot, driverInstance);
            if (refusal is not null)
            {
                return refusal;
            }
        }

        return null;
    }

    private static Refusal? Resolve(
        in MessageParameter source, ref TeeParameter parameter, int index, CallSlot slot, DriverInstance driverInstance)
    {
        if ((source.Attributes & OpTeeMessage.AttributeMeta) != 0)
        {
            return Refusal.MetaAttribute;
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
                        return Refusal.UnknownCookie;
                    }

                    // U-Boot's NULL. OP-TEE finds the message's own page by cookie 0, and a reference of size 0 fits.
                    parameter.SetMemory((TeeParameterKind)type, null, 0, 0);
                    return null;
                }

                if (source.A > buffer.Size || source.B > buffer.Size - source.A)
                {
                    return Refusal.OutsideBuffer;
                }

                InterleavingPoint.Reach("CallPreparation.Resolve: buffer found");
                slot.Buffers.Use(index, buffer);
                parameter.SetMemory((TeeParameterKind)type, buffer, source.A, source.B);
                return null;

            case OpTeeMessage.TypeTemporaryInput:
            case OpTeeMessage.TypeTemporaryOutput:
            case OpTeeMessage.TypeTemporaryInOut:
                // NULL is understood even if it was not agreed on; other memory is attached when all else is right.
                parameter.SetMemory((TeeParameterKind)(type - OpTeeMessage.TypeTemporaryInput
                    + OpTeeMessage.TypeRegisteredInput), null, 0, source.A == 0 ? 0 : source.B);
                slot.NeedsTemporaryBuffers |= source.A != 0;
                return null;

            default:
                return Refusal.UnknownType;
        }
    }
}
