using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Calls;

/// <summary>Writes RPC messages to the guest, reads and checks its answers, and names the
/// registers that carry them.</summary>
internal sealed class RpcMessageCodec(NonThrowingGuestMemory memory, SharedBufferPool buffers, ILogger log)
{
    private const int MessageSize =
        OpTeeMessage.HeaderSize + (MessageReader.RpcParameters * OpTeeMessage.ParameterSize);

    private static readonly SmcRegisterSet X0X1X3 = SmcRegisterSet.Range(0, 1).Union(SmcRegisterSet.Range(3, 3));

    /// <summary>RPC ALLOC.</summary>
    public static SmcRegisterSet AskForMemory(ref SmcRegisters registers)
    {
        registers.X0 = OpTeeSmc.ReturnRpcAllocate;
        registers.X1 = MessageSize;
        return X0X1X3;
    }

    /// <summary>RPC CMD.</summary>
    public static SmcRegisterSet AskForCommand(CallSlot slot, ref SmcRegisters registers)
    {
        ulong cookie = slot.RpcOffset == 0 ? slot.RpcBuffer!.Value.Cookie : 0;
        registers.X0 = OpTeeSmc.ReturnRpcCommand;
        registers.X1 = cookie >> 32;
        registers.X2 = (uint)cookie;
        return OpTeeRegisters.X0ToX3;
    }

    /// <summary>RPC FREE.</summary>
    public static SmcRegisterSet AskToFree(ulong cookie, ref SmcRegisters registers)
    {
        registers.X0 = OpTeeSmc.ReturnRpcFree;
        registers.X1 = cookie >> 32;
        registers.X2 = (uint)cookie;
        return OpTeeRegisters.X0ToX3;
    }

    /// <summary>Whether there is room for an RPC message: the call's, or what an earlier call has left.</summary>
    public static bool HasPlace(CallSlot slot)
    {
        if (slot.RpcOffset != 0 || slot.RpcBuffer is not null)
        {
            return true;
        }

        slot.RpcBuffer = slot.DriverInstance!.RpcBuffers.TryTake(out RpcBuffer kept) ? kept : null;
        return slot.RpcBuffer is not null;
    }

    /// <summary>Takes the memory that RPC ALLOC was answered with.</summary>
    /// <param name="slot">The call.</param>
    /// <param name="registers">The registers of the answer.</param>
    /// <param name="cookie">The guest's name for the memory, to give it back if it cannot be used; 0 for
    /// none, as OP-TEE takes it.</param>
    public bool TryTakeMemory(CallSlot slot, in SmcRegisters registers, out ulong cookie)
    {
        GuestAddress address = registers.Pair(1, 2);
        cookie = registers.Pair(4, 5);
        bool fits = address.Value % OpTeeMessage.PageSize <= OpTeeMessage.PageSize - MessageSize
            && address.IsAligned(sizeof(ulong));
        if (address.Value == 0 || !fits || !memory.TryRead(address, out ulong _))
        {
            log.RpcAnswerRefused(OpTeeSmc.ReturnRpcAllocate, "not usable as memory for a message");
            return false;
        }

        slot.RpcBuffer = new RpcBuffer(address, cookie);
        return true;
    }

    /// <summary>Writes the backend's call.</summary>
    public bool TryWriteCall(CallSlot slot)
    {
        GuestRpc rpc = slot.Rpc;
        Unsafe.SkipInit(out Message message);
        message.Header = Header(rpc.Command, rpc.Count);
        for (int index = 0; index < rpc.Count; index++)
        {
            message.Parameters[index] = Encode(rpc.Parameters[index]);
        }

        return memory.TryWrite(PlaceOf(slot), message.Bytes[..OpTeeMessage.Size(rpc.Count)]);
    }

    /// <summary>Writes a wait for a notification.</summary>
    public bool TryWriteSleep(CallSlot slot, uint notification)
    {
        Unsafe.SkipInit(out Message message);
        message.Header = Header(OpTeeRpc.Notification, 1);
        message.Parameters[0] = new MessageParameter { Attributes = OpTeeMessage.TypeValueInput,
            A = OpTeeRpc.NotificationWait, B = notification };
        return memory.TryWrite(PlaceOf(slot), message.Bytes[..OpTeeMessage.Size(1)]);
    }

    /// <summary>Whether the guest has slept as it was asked to.</summary>
    public bool ReadSleepAnswer(CallSlot slot) =>
        memory.TryRead(PlaceOf(slot), out MessageHeader header) && header.ReturnCode == (uint)TeeReturnCode.Success;

    /// <summary>Reads the answer to the backend's call, once.</summary>
    /// <param name="slot">The call.</param>
    /// <param name="declines">Whether the guest offered memory that cannot be used; the backend's call
    /// is then its SHM_FREE.</param>
    public TeeReturnCode ReadAnswer(CallSlot slot, out bool declines)
    {
        declines = false;
        GuestRpc rpc = slot.Rpc;
        Unsafe.SkipInit(out Message message);
        Span<byte> bytes = message.Bytes[..OpTeeMessage.Size(rpc.Count)];
        if (!memory.TryRead(PlaceOf(slot), bytes))
        {
            return TeeReturnCode.Communication;
        }

        TeeReturnCode code = (TeeReturnCode)message.Header.ReturnCode;
        if (rpc.Command == OpTeeRpc.AllocateSharedMemory)
        {
            return code == TeeReturnCode.Success ? TakeOffer(slot, message.Parameters[0], out declines) : code;
        }

        for (int index = 0; index < rpc.Count; index++)
        {
            Decode(message.Parameters[index], ref rpc.WritableParameters[index]);
        }

        return code;
    }

    /// <summary>Prepares to give back memory that the operation has left.</summary>
    /// <returns>Whether there is any; its SHM_FREE is written.</returns>
    public bool TryGiveBackMemory(CallSlot slot)
    {
        List<SharedBuffer> allocated = slot.Rpc.Allocated;
        while (allocated.Count > 0)
        {
            SharedBuffer buffer = allocated[^1];
            allocated.RemoveAt(allocated.Count - 1);
            slot.Rpc.PrepareFree(buffer);
            buffers.Return(buffer);
            if (TryWriteCall(slot))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Discards what the call had from a guest that will not resume it.</summary>
    public void Discard(CallSlot slot)
    {
        slot.RpcBuffer = null;
        foreach (SharedBuffer buffer in slot.Rpc.Allocated)
        {
            buffers.Return(buffer);
        }

        slot.Rpc.Allocated.Clear();
    }

    private TeeReturnCode TakeOffer(CallSlot slot, in MessageParameter offer, out bool declines)
    {
        GuestRpc rpc = slot.Rpc;
        ulong needed = rpc.Parameters[0].B;
        bool isMemory = offer.Type == OpTeeMessage.TypeTemporaryOutput && offer.A != 0 && offer.B >= needed;
        SharedBuffer? buffer = null;
        TeeReturnCode refusal = TeeReturnCode.BadParameters;
        if (isMemory)
        {
            // No more than was asked for: the guest shall not decide how much is pinned.
            refusal = (offer.Attributes & OpTeeMessage.AttributeNonContiguous) != 0
                ? buffers.TryCreateFromPageList(offer.A, needed, offer.C, isTemporary: true, out buffer)
                : buffers.TryCreateContiguous(offer.A, needed, offer.C, out buffer);
        }

        declines = buffer is null;
        if (buffer is null)
        {
            log.RpcAnswerRefused(OpTeeRpc.AllocateSharedMemory,
                refusal == TeeReturnCode.OutOfMemory ? "beyond the limits" : "not memory that can be shared");
            ulong kind = rpc.Parameters[0].A;
            rpc.PrepareFree(kind, offer.C);
            return TeeReturnCode.OutOfMemory;
        }

        buffer.Kind = (GuestMemoryKind)rpc.Parameters[0].A;
        rpc.Allocated.Add(buffer);
        rpc.NewBuffer = buffer;
        return TeeReturnCode.Success;
    }

    private static GuestAddress PlaceOf(CallSlot slot) =>
        slot.RpcOffset != 0 ? slot.MessageAddress.Add((ulong)slot.RpcOffset) : slot.RpcBuffer!.Value.Address;

    private static MessageHeader Header(uint command, int parameters) => new()
    {
        Command = command,
        ParameterCount = (uint)parameters,

        // What is there if the guest answers nothing.
        ReturnCode = (uint)TeeReturnCode.Generic,
    };

    private static MessageParameter Encode(in TeeParameter parameter)
    {
        if (!parameter.IsMemory)
        {
            return new MessageParameter { Attributes = (ulong)parameter.Kind, A = parameter.A, B = parameter.B,
                C = parameter.C };
        }

        return parameter.Memory is SharedBuffer buffer
            ? new MessageParameter { Attributes = (ulong)parameter.Kind, A = parameter.Offset, B = parameter.Size,
                C = buffer.Cookie }
            : new MessageParameter { Attributes = (ulong)parameter.Kind - OpTeeMessage.TypeRegisteredInput
                + OpTeeMessage.TypeTemporaryInput };
    }

    private static void Decode(in MessageParameter answer, ref TeeParameter parameter)
    {
        if (!parameter.IsOutput)
        {
            return;
        }

        parameter.B = answer.B;
        if (!parameter.IsMemory)
        {
            parameter.A = answer.A;
            parameter.C = answer.C;
        }
    }
}
