using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Messages;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Forwarding;

/// <summary>OP-TEE's calls to the guest (RPC): what it asks for, and what it gets as the answer.</summary>
/// <remarks>
/// <code>
///  OP-TEE returns            stage           on resume OP-TEE gets
///  FOREIGN_INTR, unknown     None            nothing
///  RPC ALLOC                 Allocating      a shadow page instead of the guest's buffer, or an unusable address
///  RPC FREE                  Freeing         nothing; it unmaps the buffer before it returns with anything
///                                            but FOREIGN_INTR, so the stage lasts until then (EndRequest)
///  RPC CMD                   Command         the outputs of the guest's answer
///  RPC CMD without a place   Undeliverable   the error that it wrote before it asked
/// </code>
/// <para>OP-TEE's message stays in a shadow page; the guest has a copy of it, and of that only the outputs are read.
/// Thread-safe: a call belongs to the vCPU that has it.</para>
/// </remarks>
internal sealed class ForwardedRpc(NonThrowingGuestMemory memory, VmResources vm, ILogger log)
{
    // OP-TEE can have no memory at an address that is not aligned. It has the guest free such memory, as if the guest
    // itself had named it. 0 would be an address like any other, and on some boards there is memory.
    private const ulong UnusableAddress = 1;

    /// <summary>OP-TEE has returned from a call, whatever its answer: ends what it had asked for before.</summary>
    public void EndRequest(ForwardedCall call, uint answer)
    {
        if (call.Stage == ForwardedRpcStage.Freeing)
        {
            if (answer == OpTeeSmc.ReturnRpcForeignInterrupt)
            {
                return;
            }

            _ = vm.RemoveRpcMessageBuffer(call.FreedCookie);
        }

        call.Stage = ForwardedRpcStage.None;
    }

    /// <summary>OP-TEE asks for something. Returns what the guest sees in X1 (bits 63 to 32) and X2.</summary>
    public ulong BeginRequest(ForwardedCall call, in SmcRegisters returned)
    {
        switch ((uint)returned.X0)
        {
            case OpTeeSmc.ReturnRpcAllocate:
                call.Stage = ForwardedRpcStage.Allocating;
                call.RequestedSize = (uint)returned.X1;
                return call.RequestedSize << 32;

            case OpTeeSmc.ReturnRpcFree when returned.Pair(1, 2) == SharedMemoryRegistry.RefusedOffer:
                return call.RefusedCookie;

            case OpTeeSmc.ReturnRpcFree:
                call.Stage = ForwardedRpcStage.Freeing;
                call.FreedCookie = returned.Pair(1, 2);
                return vm.SharedMemory.GuestCookieOf(call.FreedCookie);

            case OpTeeSmc.ReturnRpcCommand:
                ulong shown = vm.SharedMemory.GuestCookieOf(returned.Pair(1, 2));
                call.Stage = ForwardedRpcStage.Command;
                if (!TryTakeMessage(call, returned.Pair(1, 2)))
                {
                    // It may have been about memory that OP-TEE releases.
                    vm.MarkStateUnknown();
                    call.Stage = ForwardedRpcStage.Undeliverable;
                }

                return shown;

            default:
                return 0;
        }
    }

    /// <summary>Copies the message of an RPC CMD to where the guest expects it, if there is memory.</summary>
    public void Deliver(ForwardedCall call)
    {
        ref Message message = ref call.RpcMessage;
        int size = OpTeeMessage.Size((int)message.Header.ParameterCount);
        if (!memory.TryWrite(call.RpcAddress, message.Bytes[..size]))
        {
            log.RpcUndeliverable(call.RpcAddress);
            call.Stage = ForwardedRpcStage.Undeliverable;
        }
    }

    /// <summary>The guest resumes the call: copies its answer, read once, to where OP-TEE expects it.</summary>
    public void Answer(ForwardedCall call, in SmcRegisters registers, out SmcRegisters forwarded)
    {
        Resume(call, out forwarded);
        if (call.Stage == ForwardedRpcStage.Allocating)
        {
            TakeMessageBuffer(call, registers, ref forwarded);
        }
        else if (call.Stage == ForwardedRpcStage.Command)
        {
            TakeAnswer(call);
        }
    }

    /// <summary>Answers as a driver without a supplicant does, because the call's driver has ended.</summary>
    public void AnswerWithoutDriver(ForwardedCall call, out SmcRegisters forwarded)
    {
        Resume(call, out forwarded);
        if (call.Stage == ForwardedRpcStage.Allocating)
        {
            forwarded.X2 = UnusableAddress;
        }
        else if (call.Stage == ForwardedRpcStage.Command && TryGetShadow(call, out Span<byte> shadow))
        {
            TeeReturnCode code = call.RpcMessage.Header.Command switch
            {
                OpTeeRpc.FreeSharedMemory or OpTeeRpc.Notification or OpTeeRpc.Suspend => TeeReturnCode.Success,
                OpTeeRpc.AllocateSharedMemory => TeeReturnCode.OutOfMemory,
                _ => TeeReturnCode.Communication,
            };
            MemoryMarshal.Write(shadow[MessageHeader.ReturnCodeOffset..], (uint)code);
        }
    }

    private static void Resume(ForwardedCall call, out SmcRegisters forwarded)
    {
        forwarded = default;
        forwarded.X0 = OpTeeSmc.ReturnFromRpc;
        forwarded.X3 = call.OpTeeThreadId;
    }

    /// <summary>RPC CMD: takes a copy of OP-TEE's message, as the guest may see it. The cookie names the message's
    /// buffer, where no room for it came with the call.</summary>
    private bool TryTakeMessage(ForwardedCall call, ulong cookie)
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
            bool isTemporary =
                parameter.Type is >= OpTeeMessage.TypeTemporaryInput and <= OpTeeMessage.TypeTemporaryInOut;
            if (isTemporary
                || parameter.Type is >= OpTeeMessage.TypeRegisteredInput and <= OpTeeMessage.TypeRegisteredInOut)
            {
                // The guest must not see the physical address of memory that is not shared by cookie.
                parameter.A = isTemporary ? 0 : parameter.A;
                parameter.C = vm.SharedMemory.GuestCookieOf(parameter.C);
            }
        }

        if (message.Header.Command == OpTeeRpc.AllocateSharedMemory)
        {
            // OP-TEE has read the former list: the thread is the same.
            vm.PageLists.Drop(ref call.PayloadList);
        }
        else if (message.Header.Command == OpTeeRpc.FreeSharedMemory && count >= 1)
        {
            // OP-TEE has unmapped the memory before it asks.
            message.Parameters[0].B = RemovePayload(call, message.Parameters[0].B);
        }

        return true;
    }

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

        if (vm.SharedMemory.Find(cookie) is not { Role: BufferRole.RpcMessage } buffer
            || !buffer.TryGetRun(0, out GuestRange run))
        {
            return false;
        }

        call.RpcAddress = run.Start;
        call.RpcShadowPage = buffer.ShadowPage;
        call.RpcShadowOffset = 0;
        return true;
    }

    private bool TryGetShadow(ForwardedCall call, out Span<byte> message)
    {
        bool isFound = vm.Shadows.TryGetBytes(call.RpcShadowPage, out message);
        message = isFound ? message[call.RpcShadowOffset..] : default;
        return isFound;
    }

    private void TakeAnswer(ForwardedCall call)
    {
        Message answer = default;
        ref Message asked = ref call.RpcMessage;
        int count = (int)asked.Header.ParameterCount;
        if (!memory.TryRead(call.RpcAddress, answer.Bytes[..OpTeeMessage.Size(count)])
            || !TryGetShadow(call, out Span<byte> shadow))
        {
            return; // OP-TEE has put an error there before it asked
        }

        Span<MessageParameter> results = ShadowMessages.ParametersIn(shadow)[..count];
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

        Span<uint> codes = MemoryMarshal.Cast<byte, uint>(shadow[MessageHeader.ReturnCodeOffset..])[..2];
        codes[0] = answer.Header.ReturnCode;
        codes[1] = answer.Header.ReturnOrigin;
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

            case OpTeeMessage.TypeRegisteredOutput or OpTeeMessage.TypeRegisteredInOut
                or OpTeeMessage.TypeTemporaryOutput or OpTeeMessage.TypeTemporaryInOut:
                result.B = answer.B;
                break;
        }
    }

    /// <summary>The answer to RPC ALLOC: OP-TEE gets a shadow page instead of the guest's memory.</summary>
    private void TakeMessageBuffer(ForwardedCall call, in SmcRegisters registers, ref SmcRegisters forwarded)
    {
        ulong address = registers.Pair(1, 2);
        ulong cookie = registers.Pair(4, 5);
        forwarded.X2 = UnusableAddress;
        if (address == 0)
        {
            return;
        }

        TeeReturnCode code = TryEnterMessageBuffer(address, call.RequestedSize, cookie, out SharedBuffer? buffer);
        if (code == TeeReturnCode.Success)
        {
            ulong shadow = vm.Shadows.AddressOf(buffer!.ShadowPage).Value;
            forwarded.X1 = shadow >> 32;
            forwarded.X2 = (uint)shadow;
            forwarded.X4 = buffer.TeeCookie >> 32;
            forwarded.X5 = (uint)buffer.TeeCookie;
            return;
        }

        log.RpcMemoryRefused(cookie, call.RequestedSize, code, Refusal.OfMemory(code).Reason);
        if (cookie != 0)
        {
            call.RefusedCookie = cookie;
            forwarded.X4 = SharedMemoryRegistry.RefusedOffer >> 32;
        }
    }

    private TeeReturnCode TryEnterMessageBuffer(ulong address, ulong size, ulong cookie, out SharedBuffer? buffer)
    {
        buffer = null;
        if (address % sizeof(ulong) != 0 || size > OpTeeMessage.PageSize)
        {
            return TeeReturnCode.BadParameters;
        }

        TeeReturnCode code =
            vm.SharedMemory.TryEnterContiguous(address, size, cookie, BufferRole.RpcMessage, out buffer);
        if (code != TeeReturnCode.Success)
        {
            return code;
        }

        if (!vm.Shadows.TryTake(1, out int page))
        {
            vm.SharedMemory.Remove(buffer!);
            buffer = null;
            return TeeReturnCode.OutOfMemory;
        }

        buffer!.ShadowPage = page;
        return TeeReturnCode.Success;
    }

    /// <summary>The answer to SHM_ALLOC: pins the memory and gives OP-TEE its page list.</summary>
    private void TakePayload(
        ForwardedCall call, in MessageParameter offer, ulong requestedSize, ref MessageParameter result)
    {
        TeeReturnCode code = TryEnterPayload(call, offer, requestedSize, out SharedBuffer? buffer);
        if (code == TeeReturnCode.Success)
        {
            result.C = buffer!.TeeCookie;
            result.B = offer.B;
            result.Attributes = OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous;
            result.A = vm.Shadows.AddressOf(call.PayloadList).Value | (offer.A % OpTeeMessage.PageSize);
            return;
        }

        log.RpcMemoryRefused(offer.C, offer.B, code, Refusal.OfMemory(code).Reason);
        result.Attributes = OpTeeMessage.TypeTemporaryOutput;
        result.A = UnusableAddress;
        result.B = requestedSize; // OP-TEE would drop smaller memory without having the guest free it
        result.C = SharedMemoryRegistry.RefusedOffer;
        call.RefusedCookie = offer.C;
    }

    private TeeReturnCode TryEnterPayload(
        ForwardedCall call, in MessageParameter offer, ulong requestedSize, out SharedBuffer? buffer)
    {
        buffer = null;
        if (offer.B < requestedSize)
        {
            return TeeReturnCode.BadParameters;
        }

        TeeReturnCode code = offer.Attributes switch
        {
            OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous =>
                vm.SharedMemory.TryEnterPageList(offer.A, offer.B, offer.C, BufferRole.RpcPayload, out buffer),
            OpTeeMessage.TypeTemporaryOutput =>
                vm.SharedMemory.TryEnterContiguous(offer.A, offer.B, offer.C, BufferRole.RpcPayload, out buffer),
            _ => TeeReturnCode.BadParameters,
        };
        return code == TeeReturnCode.Success ? vm.TryWritePageList(ref buffer, out call.PayloadList) : code;
    }

    /// <summary>SHM_FREE: OP-TEE has released memory of the guest. Returns the guest's cookie of it.</summary>
    private ulong RemovePayload(ForwardedCall call, ulong cookie)
    {
        if (cookie == SharedMemoryRegistry.RefusedOffer)
        {
            return call.RefusedCookie;
        }

        if (vm.SharedMemory.Find(cookie) is not { Role: BufferRole.RpcPayload } buffer)
        {
            return 0;
        }

        ulong guestCookie = buffer.Cookie;
        vm.SharedMemory.Remove(buffer);
        return guestCookie;
    }
}
