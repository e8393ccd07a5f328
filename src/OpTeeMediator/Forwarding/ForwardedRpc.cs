using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Forwarding;

/// <summary>OP-TEE's calls to the guest: their messages, the guest's answers, and the memory that changes hands by them.</summary>
/// <remarks>
/// OP-TEE's message stays in a shadow page; the guest has a copy of it, and of that only the outputs are read. Thread-safe: a call belongs to the vCPU
/// that has it.
/// </remarks>
internal sealed class ForwardedRpc(NonThrowingGuestMemory memory, SharedMemoryRegistry registry, ShadowPool shadows, ShadowPageLists lists, ILogger log)
{
    // An address at which OP-TEE can have no memory because it is not aligned. It has the guest free such memory, just as if the guest itself had named it.
    private const ulong UnusableAddress = 1;

    // Where the return code of a message is, and behind it the origin.
    private const int ReturnCodeOffset = 20;

    /// <summary>RPC CMD: takes a copy of OP-TEE's message, as the guest may see it.</summary>
    /// <param name="call">The call that asks.</param>
    /// <param name="cookie">OP-TEE's cookie of the message's buffer, where no room for it came with the call.</param>
    /// <returns><see langword="false"/> if there is no such message.</returns>
    public bool TryTake(ForwardedCall call, ulong cookie)
    {
        ref Message message = ref call.RpcMessage;
        if (!TryFindMessage(call, cookie) || !TryGetShadow(call, out Span<byte> shadow))
        {
            return false;
        }

        shadow[..message.Bytes.Length].CopyTo(message.Bytes);
        int count = (int)message.Header.ParameterCount;
        if ((uint)count > Message.UsedParameters)
        {
            return false;
        }

        foreach (ref MessageParameter parameter in message.Parameters[..count])
        {
            switch (parameter.Type)
            {
                case OpTeeMessage.TypeTemporaryInput or OpTeeMessage.TypeTemporaryOutput or OpTeeMessage.TypeTemporaryInOut:
                    // Memory that is shared otherwise than by cookie: the guest must not see its physical address.
                    parameter.A = 0;
                    parameter.C = registry.GuestCookieOf(parameter.C);
                    break;

                case OpTeeMessage.TypeRegisteredInput or OpTeeMessage.TypeRegisteredOutput or OpTeeMessage.TypeRegisteredInOut:
                    parameter.C = registry.GuestCookieOf(parameter.C);
                    break;

                default:
                    break;
            }
        }

        switch (message.Header.Command)
        {
            case OpTeeRpc.AllocateSharedMemory:
                // The answer to the former one has been read: the thread is the same.
                lists.Drop(ref call.PayloadList);
                break;

            case OpTeeRpc.FreeSharedMemory when count >= 1:
                // OP-TEE has unmapped it before it says so.
                message.Parameters[0].B = TakeBack(call, message.Parameters[0].B, BufferRole.RpcPayload);
                break;

            default:
                break;
        }

        return true;
    }

    /// <summary>Copies a message that was taken to where the guest expects it.</summary>
    /// <returns><see langword="false"/> if the guest has no memory there any more.</returns>
    public bool TryDeliver(ForwardedCall call)
    {
        ref Message message = ref call.RpcMessage;
        if (memory.TryWrite(call.RpcAddress, message.Bytes[..OpTeeMessage.Size((int)message.Header.ParameterCount)]))
        {
            return true;
        }

        log.RpcUndeliverable(call.RpcAddress);
        return false;
    }

    /// <summary>Answers a message that was taken as a driver without a supplicant does, because the guest's driver has gone.</summary>
    public void AnswerInsteadOfDriver(ForwardedCall call)
    {
        if (TryGetShadow(call, out Span<byte> shadow))
        {
            TeeReturnCode code = call.RpcMessage.Header.Command switch
            {
                OpTeeRpc.FreeSharedMemory or OpTeeRpc.Notification or OpTeeRpc.Suspend => TeeReturnCode.Success,
                OpTeeRpc.AllocateSharedMemory => TeeReturnCode.OutOfMemory,
                _ => TeeReturnCode.Communication,
            };
            MemoryMarshal.Write(shadow[ReturnCodeOffset..], (uint)code);
        }
    }

    /// <summary>The return from RPC CMD: copies the guest's answer, read once, to where OP-TEE expects it.</summary>
    public void TakeAnswer(ForwardedCall call)
    {
        Message answer = default;
        ref Message asked = ref call.RpcMessage;
        int count = (int)asked.Header.ParameterCount;
        if (!memory.TryRead(call.RpcAddress, answer.Bytes[..OpTeeMessage.Size(count)]) || !TryGetShadow(call, out Span<byte> shadow))
        {
            return; // OP-TEE has put an error there before it asked
        }

        Span<MessageParameter> results = MemoryMarshal.Cast<byte, MessageParameter>(shadow[OpTeeMessage.HeaderSize..])[..count];
        if (asked.Header.Command == OpTeeRpc.AllocateSharedMemory)
        {
            if (answer.Header.ReturnCode == (uint)TeeReturnCode.Success && count == 1)
            {
                TakePayload(call, answer.Parameters[0], asked.Parameters[0].B, ref results[0]);
            }
        }
        else
        {
            for (int index = 0; index < count; index++)
            {
                CopyOutput(asked.Parameters[index].Type, answer.Parameters[index], ref results[index]);
            }
        }

        Span<uint> codes = MemoryMarshal.Cast<byte, uint>(shadow.Slice(ReturnCodeOffset, 2 * sizeof(uint)));
        codes[0] = answer.Header.ReturnCode;
        codes[1] = answer.Header.ReturnOrigin;
    }

    /// <summary>The return from RPC ALLOC: OP-TEE gets a shadow page instead of the guest's memory.</summary>
    /// <param name="call">The call that asked.</param>
    /// <param name="registers">The guest's answer.</param>
    /// <param name="forwarded">What OP-TEE is told.</param>
    public void TakeMessageBuffer(ForwardedCall call, in SmcRegisters registers, ref SmcRegisters forwarded)
    {
        ulong address = registers.Pair(1, 2);
        ulong cookie = registers.Pair(4, 5);
        if (address == 0)
        {
            RefuseMessageBuffer(ref forwarded);
            return;
        }

        TeeReturnCode code = TryEnterMessageBuffer(address, call.RequestedSize, cookie, out SharedBuffer? buffer);
        if (code != TeeReturnCode.Success)
        {
            log.RpcMemoryRefused(cookie, call.RequestedSize, code, RefusalReason.OfMemory(code));
            RefuseMessageBuffer(ref forwarded);
            if (cookie != 0)
            {
                call.RefusedCookie = cookie;
                forwarded.X4 = SharedMemoryRegistry.RefusedOffer >> 32;
            }

            return;
        }

        PhysicalAddress shadow = shadows.AddressOf(buffer!.ShadowPage);
        forwarded.X1 = shadow.Value >> 32;
        forwarded.X2 = (uint)shadow.Value;
        forwarded.X4 = buffer.TeeCookie >> 32;
        forwarded.X5 = (uint)buffer.TeeCookie;
    }

    /// <summary>The answer "no memory" to RPC ALLOC. To OP-TEE 0 is an address like any other, and on some boards there is memory.</summary>
    public static void RefuseMessageBuffer(ref SmcRegisters forwarded) => forwarded.X2 = (uint)UnusableAddress;

    /// <summary>RPC FREE. OP-TEE asks before it unmaps the buffer: the shadow page stays as it is that long.</summary>
    /// <returns>The guest's cookie of the buffer.</returns>
    public ulong Free(ForwardedCall call, ulong cookie)
    {
        if (cookie == SharedMemoryRegistry.RefusedOffer)
        {
            return call.RefusedCookie;
        }

        call.FreedCookie = cookie;
        return registry.GuestCookieOf(cookie);
    }

    /// <summary>OP-TEE has gone on after RPC FREE.</summary>
    public void EndFree(ForwardedCall call)
    {
        _ = TakeBackMessageBuffer(call.FreedCookie);
        call.FreedCookie = 0;
    }

    /// <summary>OP-TEE has released a buffer for RPC messages.</summary>
    /// <returns>The guest's cookie of the buffer; 0 if there is none.</returns>
    public ulong TakeBackMessageBuffer(ulong cookie)
    {
        if (registry.Find(cookie) is not { Role: BufferRole.RpcMessage } buffer)
        {
            return 0;
        }

        ulong guestCookie = buffer.Cookie;
        shadows.Return(buffer.ShadowPage);
        registry.Remove(buffer);
        return guestCookie;
    }

    private TeeReturnCode TryEnterMessageBuffer(ulong address, ulong size, ulong cookie, out SharedBuffer? buffer)
    {
        buffer = null;
        if (address % sizeof(ulong) != 0 || size > OpTeeMessage.PageSize)
        {
            return TeeReturnCode.BadParameters;
        }

        TeeReturnCode code = registry.TryEnterContiguous(address, size, cookie, BufferRole.RpcMessage, out buffer);
        if (code != TeeReturnCode.Success)
        {
            return code;
        }

        if (!shadows.TryTake(1, out int page))
        {
            registry.Remove(buffer!);
            buffer = null;
            return TeeReturnCode.OutOfMemory;
        }

        buffer!.ShadowPage = page;
        return TeeReturnCode.Success;
    }

    /// <summary>OP-TEE gives back what the guest had offered, used or refused.</summary>
    /// <returns>The guest's cookie of it.</returns>
    private ulong TakeBack(ForwardedCall call, ulong cookie, BufferRole role)
    {
        if (cookie == SharedMemoryRegistry.RefusedOffer)
        {
            return call.RefusedCookie;
        }

        if (registry.Find(cookie) is not { } buffer || buffer.Role != role)
        {
            return 0;
        }

        ulong guestCookie = buffer.Cookie;
        registry.Remove(buffer);
        return guestCookie;
    }

    private bool TryGetShadow(ForwardedCall call, out Span<byte> message)
    {
        bool isFound = shadows.TryGetBytes(call.RpcShadowPage, out message);
        message = isFound ? message[call.RpcShadowOffset..] : default;
        return isFound;
    }

    /// <summary>Finds OP-TEE's message and the guest's place for it.</summary>
    private bool TryFindMessage(ForwardedCall call, ulong cookie)
    {
        // OP-TEE prefers the room that came with the call, whatever buffers it has.
        if (call.RpcOffset != 0)
        {
            call.RpcAddress = call.MessageAddress.Add((ulong)call.RpcOffset);
            call.RpcShadowPage = call.ShadowPage;
            call.RpcShadowOffset = call.RpcOffset;
            return true;
        }

        if (registry.Find(cookie) is not { Role: BufferRole.RpcMessage } buffer || !buffer.TryGetRun(0, out GuestRange run))
        {
            return false;
        }

        call.RpcAddress = run.Start;
        call.RpcShadowPage = buffer.ShadowPage;
        call.RpcShadowOffset = 0;
        return true;
    }

    private static void CopyOutput(uint type, in MessageParameter answer, ref MessageParameter result)
    {
        switch (type)
        {
            case OpTeeMessage.TypeValueOutput or OpTeeMessage.TypeValueInOut:
                result.A = answer.A;
                result.B = answer.B;
                result.C = answer.C;
                break;

            case OpTeeMessage.TypeRegisteredOutput or OpTeeMessage.TypeRegisteredInOut or OpTeeMessage.TypeTemporaryOutput or OpTeeMessage.TypeTemporaryInOut:
                result.B = answer.B;
                break;

            default:
                break;
        }
    }

    /// <summary>The answer to SHM_ALLOC: pins the memory and gives OP-TEE its page list.</summary>
    private void TakePayload(ForwardedCall call, in MessageParameter offer, ulong requestedSize, ref MessageParameter result)
    {
        SharedBuffer? buffer = null;
        TeeReturnCode code = offer.Attributes switch
        {
            _ when offer.B < requestedSize => TeeReturnCode.BadParameters,
            OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous =>
                registry.TryEnterPageList(offer.A, offer.B, offer.C, BufferRole.RpcPayload, out buffer),
            OpTeeMessage.TypeTemporaryOutput => registry.TryEnterContiguous(offer.A, offer.B, offer.C, BufferRole.RpcPayload, out buffer),
            _ => TeeReturnCode.BadParameters,
        };
        if (code == TeeReturnCode.Success)
        {
            code = lists.TryWrite(buffer!, out call.PayloadList);
            if (code != TeeReturnCode.Success)
            {
                registry.Remove(buffer!);
            }
        }

        if (code == TeeReturnCode.Success)
        {
            result.C = buffer!.TeeCookie;
            result.B = offer.B;
            result.Attributes = OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous;
            result.A = shadows.AddressOf(call.PayloadList).Value | (offer.A % OpTeeMessage.PageSize);
            return;
        }

        log.RpcMemoryRefused(offer.C, offer.B, code, RefusalReason.OfMemory(code));
        result.Attributes = OpTeeMessage.TypeTemporaryOutput;
        result.A = UnusableAddress;
        result.B = requestedSize; // too little memory OP-TEE would keep to itself, and never have it freed
        result.C = SharedMemoryRegistry.RefusedOffer;
        call.RefusedCookie = offer.C;
    }
}
