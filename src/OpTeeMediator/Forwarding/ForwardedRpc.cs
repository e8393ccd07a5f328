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
internal sealed class ForwardedRpc(NonThrowingGuestMemory memory, ForwardedBooks books, ShadowPool shadows, ShadowPageLists lists, ILogger log)
{
    // An address at which OP-TEE can have no memory because it is not aligned. It has the guest free such memory, just as if the guest itself had named it.
    private const ulong UnusableAddress = 1;

    // Where the return code of a message is, and behind it the origin.
    private const int ReturnCodeOffset = 20;

    /// <summary>RPC CMD: copies OP-TEE's message to where the guest expects it.</summary>
    /// <param name="call">The call that asks.</param>
    /// <param name="cookie">The buffer of the message, where the guest supplied no room with its call.</param>
    /// <returns><see langword="false"/> if the guest has no memory there any more.</returns>
    public bool TryDeliver(ForwardedCall call, ulong cookie)
    {
        if (!TryFindMessage(call, cookie))
        {
            return false;
        }

        ref Message message = ref call.RpcMessage;
        shadows.BytesOf(call.RpcShadowPage).Slice(call.RpcShadowOffset, message.Bytes.Length).CopyTo(message.Bytes);
        int count = (int)message.Header.ParameterCount;
        if ((uint)count > Message.UsedParameters)
        {
            return false;
        }

        foreach (ref MessageParameter parameter in message.Parameters[..count])
        {
            // Memory that is shared otherwise than by cookie: its physical address is none of the guest's business.
            if (parameter.Type is OpTeeMessage.TypeTemporaryInput or OpTeeMessage.TypeTemporaryOutput or OpTeeMessage.TypeTemporaryInOut)
            {
                parameter.A = 0;
            }
        }

        switch (message.Header.Command)
        {
            case OpTeeRpc.AllocateSharedMemory:
                // The answer to the former one has been read: the thread is the same.
                lists.Drop(ref call.PayloadList);
                break;

            case OpTeeRpc.FreeSharedMemory when count >= 1 && !IsRefused(call, message.Parameters[0].B):
                // OP-TEE has unmapped it before it says so.
                _ = books.Remove(message.Parameters[0].B, BufferRole.RpcPayload);
                break;

            default:
                break;
        }

        if (memory.TryWrite(call.RpcAddress, message.Bytes[..OpTeeMessage.Size(count)]))
        {
            return true;
        }

        log.RpcUndeliverable(call.RpcAddress);
        return false;
    }

    /// <summary>The return from RPC CMD: copies the guest's answer, read once, to where OP-TEE expects it.</summary>
    public void TakeAnswer(ForwardedCall call)
    {
        Message answer = default;
        ref Message asked = ref call.RpcMessage;
        int count = (int)asked.Header.ParameterCount;
        if (!memory.TryRead(call.RpcAddress, answer.Bytes[..OpTeeMessage.Size(count)]))
        {
            return; // OP-TEE has put an error there before it asked
        }

        Span<byte> shadow = shadows.BytesOf(call.RpcShadowPage)[call.RpcShadowOffset..];
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
        call.RefusedCookie = 0;
        if (address == 0)
        {
            // No memory. To OP-TEE 0 is an address like any other, and on some boards there is memory.
            forwarded.X2 = (uint)UnusableAddress;
            return;
        }

        forwarded.X4 = cookie >> 32;
        forwarded.X5 = (uint)cookie;
        TeeReturnCode code = TryEnterMessageBuffer(address, call.RequestedSize, cookie, out PhysicalAddress shadow);
        if (code != TeeReturnCode.Success)
        {
            log.RpcMemoryRefused(cookie, call.RequestedSize, code);
            call.RefusedCookie = cookie;
        }

        forwarded.X1 = shadow.Value >> 32;
        forwarded.X2 = (uint)shadow.Value;
    }

    /// <summary>RPC FREE. OP-TEE asks before it unmaps the buffer, and finds it by its cookie until then: it stays in the books that long.</summary>
    public static void Free(ForwardedCall call, ulong cookie) => call.FreedCookie = IsRefused(call, cookie) ? 0 : cookie;

    /// <summary>OP-TEE has gone on after RPC FREE.</summary>
    public void EndFree(ForwardedCall call)
    {
        ForgetMessageBuffer(call.FreedCookie);
        call.FreedCookie = 0;
    }

    /// <summary>OP-TEE has given up a buffer for RPC messages.</summary>
    public void ForgetMessageBuffer(ulong cookie)
    {
        if (books.Remove(cookie, BufferRole.RpcMessage) is { } page)
        {
            shadows.Return(page);
        }
    }

    private TeeReturnCode TryEnterMessageBuffer(ulong address, ulong size, ulong cookie, out PhysicalAddress shadow)
    {
        shadow = new PhysicalAddress(UnusableAddress);
        if (address % sizeof(ulong) != 0 || size > OpTeeMessage.PageSize)
        {
            return TeeReturnCode.BadParameters;
        }

        TeeReturnCode code = books.TryEnterContiguous(address, size, cookie, BufferRole.RpcMessage, out SharedBuffer? buffer);
        if (code != TeeReturnCode.Success)
        {
            return code;
        }

        if (!shadows.TryTake(1, out int page))
        {
            books.Remove(buffer!);
            return TeeReturnCode.OutOfMemory;
        }

        buffer!.ShadowPage = page;
        shadow = shadows.AddressOf(page);
        return TeeReturnCode.Success;
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

        if (books.FindRpcMessageBuffer(cookie) is not { } buffer || !buffer.TryGetRun(0, out GuestRange run))
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
        call.RefusedCookie = 0;
        SharedBuffer? buffer = null;
        TeeReturnCode code = offer.Attributes switch
        {
            _ when offer.B < requestedSize => TeeReturnCode.BadParameters,
            OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous =>
                books.TryEnterPageList(offer.A, offer.B, offer.C, BufferRole.RpcPayload, out buffer),
            OpTeeMessage.TypeTemporaryOutput => books.TryEnterContiguous(offer.A, offer.B, offer.C, BufferRole.RpcPayload, out buffer),
            _ => TeeReturnCode.BadParameters,
        };
        if (code == TeeReturnCode.Success)
        {
            code = lists.TryWrite(buffer!, out call.PayloadList);
            if (code != TeeReturnCode.Success)
            {
                books.Remove(buffer!);
            }
        }

        result.C = offer.C;
        if (code == TeeReturnCode.Success)
        {
            result.B = offer.B;
            result.Attributes = OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous;
            result.A = shadows.AddressOf(call.PayloadList).Value | (offer.A % OpTeeMessage.PageSize);
            return;
        }

        log.RpcMemoryRefused(offer.C, offer.B, code);
        result.Attributes = OpTeeMessage.TypeTemporaryOutput;
        result.A = UnusableAddress;
        result.B = requestedSize; // too little memory OP-TEE would keep to itself, and never have it freed
        call.RefusedCookie = offer.C;
    }

    /// <summary>Whether OP-TEE asks to free what was refused, and what is therefore in no book, though its cookie may be.</summary>
    private static bool IsRefused(ForwardedCall call, ulong cookie)
    {
        if (cookie == 0 || call.RefusedCookie != cookie)
        {
            return false;
        }

        call.RefusedCookie = 0;
        return true;
    }
}
