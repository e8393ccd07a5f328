using System.Diagnostics;
using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Calls;

/// <summary>A call's way through the guest: what the guest is asked next, and what its return means.</summary>
/// <remarks>
/// <code>
///  None ── Ask, TryBeginSleep: no room for a message ──► Allocating
///  None ── Ask ─────────────────────────────────────────► Calling
///  None ── TryBeginSleep ───────────────────────────────► Sleeping
///  None ── GiveBack: something is left ─────────────────► Concluding
///  Allocating ── TakeAnswer: memory that cannot be used ► RefusingMemory
///  Calling    ── TakeAnswer: memory that cannot be used ► Declining
///  all        ── TakeAnswer ────────────────────────────► None
/// </code>
/// <para>Each step sets the slot's <see cref="RpcStage"/> and returns the registers that carry what is asked,
/// with which the call is to be suspended; none if nothing is asked, and the call goes on. A call belongs to
/// the vCPU that has it.</para>
/// </remarks>
internal sealed class RpcStateMachine(
    NonThrowingGuestMemory memory,
    SharedBufferPool buffers,
    NotificationQueue notifications,
    TimeSpan sleepAfter,
    ILogger log)
{
    // Linux sleeps uninterruptibly while a call is sleeping, and warns of tasks that do so for two minutes.
    private static readonly TimeSpan SleepAtMost = TimeSpan.FromSeconds(55);

    private static readonly SmcRegisterSet X0X1X3 = SmcRegisterSet.Range(0, 1).Union(SmcRegisterSet.Range(3, 3));

    /// <summary>Carries the backend's call to the guest, or asks for memory for it first.</summary>
    public SmcRegisterSet Ask(CallSlot slot, ref SmcRegisters registers)
    {
        if (!HasPlace(slot))
        {
            return AskForMemory(slot, ref registers);
        }

        if (!TryWriteCall(slot))
        {
            // The guest has taken away the memory of its own message.
            slot.EndRpc(TeeReturnCode.Communication);
            return SmcRegisterSet.None;
        }

        return AskForCommand(slot, RpcStage.Calling, ref registers);
    }

    /// <summary>Has the guest's thread sleep until the operation ends, if it runs long and the guest can.</summary>
    public SmcRegisterSet TryBeginSleep(CallSlot slot, ref SmcRegisters registers)
    {
        if (!notifications.IsEnabled || slot.CannotSleep
            || Stopwatch.GetElapsedTime(slot.Operation.WaitsSince) < sleepAfter)
        {
            return SmcRegisterSet.None;
        }

        if (!HasPlace(slot))
        {
            return AskForMemory(slot, ref registers);
        }

        if (!slot.Sleep.TryBegin(slot.Operation, SleepAtMost))
        {
            return SmcRegisterSet.None;
        }

        // STOP_ASYNC_NOTIF either sees this call asleep, or is seen here.
        if (!notifications.IsEnabled)
        {
            slot.Sleep.End();
            return SmcRegisterSet.None;
        }

        Unsafe.SkipInit(out Message message);
        RpcMessages.EncodeWait(slot.Sleep.Number, ref message);
        if (memory.TryWrite(PlaceOf(slot), message.Bytes[..OpTeeMessage.Size(1)]))
        {
            return AskForCommand(slot, RpcStage.Sleeping, ref registers);
        }

        slot.Sleep.End();
        slot.CannotSleep = true;
        return SmcRegisterSet.None;
    }

    /// <summary>Takes what the guest returns with from the slot's stage.</summary>
    public SmcRegisterSet TakeAnswer(CallSlot slot, ref SmcRegisters registers)
    {
        RpcStage stage = slot.Stage;
        slot.Stage = RpcStage.None;
        switch (stage)
        {
            case RpcStage.Allocating:
                if (!TryTakeMemory(slot, registers, out ulong cookie))
                {
                    if (cookie != 0)
                    {
                        return AskToFree(slot, RpcStage.RefusingMemory, cookie, ref registers);
                    }

                    GoOnWithoutMemory(slot);
                }

                break;

            case RpcStage.RefusingMemory:
                GoOnWithoutMemory(slot);
                break;

            case RpcStage.Calling:
                TeeReturnCode answer = ReadAnswer(slot, out bool declines);
                if (declines && TryWriteCall(slot))
                {
                    return AskForCommand(slot, RpcStage.Declining, ref registers);
                }

                slot.Operation.WaitsSince = 0;
                slot.EndRpc(answer);
                break;

            case RpcStage.Declining:
                slot.EndRpc(TeeReturnCode.OutOfMemory);
                break;

            case RpcStage.Sleeping:
                slot.Sleep.End();

                // A guest that has not slept as it was asked to is interrupted from now on.
                slot.CannotSleep = !memory.TryRead(PlaceOf(slot), out MessageHeader header)
                    || header.ReturnCode != (uint)TeeReturnCode.Success;
                slot.Operation.WaitsSince = 0;
                break;

            default:
                // What was given back is the guest's again.
                break;
        }

        return SmcRegisterSet.None;
    }

    /// <summary>Gives back what an ended call still has from the guest, one piece an exit.</summary>
    public SmcRegisterSet GiveBack(CallSlot slot, ref SmcRegisters registers)
    {
        List<SharedBuffer> allocated = slot.Rpc.Allocated;
        while (allocated.Count > 0)
        {
            SharedBuffer left = allocated[^1];
            allocated.RemoveAt(allocated.Count - 1);
            slot.Rpc.PrepareFree(left);
            buffers.Return(left);
            if (TryWriteCall(slot))
            {
                return AskForCommand(slot, RpcStage.Concluding, ref registers);
            }
        }

        if (slot.RpcBuffer is not { } buffer)
        {
            return SmcRegisterSet.None;
        }

        slot.RpcBuffer = null;
        return slot.DriverInstance!.RpcBuffers.TryKeep(buffer) ? SmcRegisterSet.None
            : AskToFree(slot, RpcStage.Concluding, buffer.Cookie, ref registers);
    }

    /// <summary>Discards what a call had from a guest that will not resume it.</summary>
    public void Discard(CallSlot slot)
    {
        slot.RpcBuffer = null;
        foreach (SharedBuffer buffer in slot.Rpc.Allocated)
        {
            buffers.Return(buffer);
        }

        slot.Rpc.Allocated.Clear();
    }

    // RPC ALLOC.
    private static SmcRegisterSet AskForMemory(CallSlot slot, ref SmcRegisters registers)
    {
        slot.Stage = RpcStage.Allocating;
        registers.X0 = OpTeeSmc.ReturnRpcAllocate;
        registers.X1 = RpcMessages.Size;
        return X0X1X3;
    }

    // RPC CMD.
    private static SmcRegisterSet AskForCommand(CallSlot slot, RpcStage stage, ref SmcRegisters registers) =>
        Ask(slot, stage, OpTeeSmc.ReturnRpcCommand, slot.RpcOffset == 0 ? slot.RpcBuffer!.Value.Cookie : 0,
            ref registers);

    // RPC FREE.
    private static SmcRegisterSet AskToFree(CallSlot slot, RpcStage stage, ulong cookie, ref SmcRegisters registers) =>
        Ask(slot, stage, OpTeeSmc.ReturnRpcFree, cookie, ref registers);

    private static SmcRegisterSet Ask(
        CallSlot slot, RpcStage stage, uint function, ulong cookie, ref SmcRegisters registers)
    {
        slot.Stage = stage;
        registers.X0 = function;
        registers.X1 = cookie >> 32;
        registers.X2 = (uint)cookie;
        return OpTeeRegisters.X0ToX3;
    }

    // There is no room for an RPC message: neither for a wait nor for the backend's call, if it has asked for one.
    private static void GoOnWithoutMemory(CallSlot slot)
    {
        slot.CannotSleep = true;
        slot.EndRpc(TeeReturnCode.OutOfMemory);
    }

    // The room is in the call's message, or what an earlier call has left.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool HasPlace(CallSlot slot)
    {
        if (slot.RpcOffset != 0 || slot.RpcBuffer is not null)
        {
            return true;
        }

        slot.RpcBuffer = slot.DriverInstance!.RpcBuffers.TryTake(out RpcBuffer kept) ? kept : null;
        return slot.RpcBuffer is not null;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static GuestAddress PlaceOf(CallSlot slot) =>
        slot.RpcOffset != 0 ? slot.MessageAddress.Add((ulong)slot.RpcOffset) : slot.RpcBuffer!.Value.Address;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryWriteCall(CallSlot slot)
    {
        GuestRpc rpc = slot.Rpc;
        ReadOnlySpan<TeeParameter> parameters = rpc.Parameters[..rpc.Count];
        GuestAddress place = PlaceOf(slot);
        if (!memory.TryGetWindow(place, OpTeeMessage.Size(parameters.Length), out Span<byte> window))
        {
            return TryWriteCopy(place, rpc.Command, parameters);
        }

        RpcMessages.Encode(rpc.Command, parameters, window);
        if (memory.IsTracked)
        {
            memory.NotifyWritten(new GuestRange(place, (ulong)window.Length));
        }

        return true;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool TryWriteCopy(GuestAddress place, uint command, ReadOnlySpan<TeeParameter> parameters)
    {
        Unsafe.SkipInit(out Message message);
        Span<byte> bytes = message.Bytes[..OpTeeMessage.Size(parameters.Length)];
        RpcMessages.Encode(command, parameters, bytes);
        return memory.TryWrite(place, bytes);
    }

    /// <summary>Takes the memory that RPC ALLOC was answered with. The cookie is for giving it back if it cannot be
    /// used; 0 for none, as OP-TEE takes it.</summary>
    private bool TryTakeMemory(CallSlot slot, in SmcRegisters registers, out ulong cookie)
    {
        GuestAddress address = registers.Pair(1, 2);
        cookie = registers.Pair(4, 5);
        bool fits = address.Value % OpTeeMessage.PageSize <= OpTeeMessage.PageSize - RpcMessages.Size
            && address.IsAligned(sizeof(ulong));
        if (address.Value == 0 || !fits || !memory.TryRead(address, out ulong _))
        {
            log.RpcAnswerRefused(OpTeeSmc.ReturnRpcAllocate, "not usable as memory for a message");
            return false;
        }

        slot.RpcBuffer = new RpcBuffer(address, cookie);
        return true;
    }

    /// <summary>Reads the answer to the call, once; the call becomes the SHM_FREE of unusable memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private TeeReturnCode ReadAnswer(CallSlot slot, out bool declines)
    {
        declines = false;
        GuestRpc rpc = slot.Rpc;
        Unsafe.SkipInit(out Message message);
        if (!memory.TryRead(PlaceOf(slot), message.Bytes[..OpTeeMessage.Size(rpc.Count)]))
        {
            return TeeReturnCode.Communication;
        }

        TeeReturnCode code = (TeeReturnCode)message.Header.ReturnCode;
        if (rpc.Command == OpTeeRpc.AllocateSharedMemory)
        {
            return code == TeeReturnCode.Success ? TakeOffer(rpc, message.Parameters[0], out declines) : code;
        }

        RpcMessages.Decode(message, rpc.WritableParameters[..rpc.Count]);
        return code;
    }

    private TeeReturnCode TakeOffer(GuestRpc rpc, in MessageParameter offer, out bool declines)
    {
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
            rpc.PrepareFree(rpc.Parameters[0].A, offer.C);
            return TeeReturnCode.OutOfMemory;
        }

        buffer.Kind = (GuestMemoryKind)rpc.Parameters[0].A;
        rpc.Allocated.Add(buffer);
        rpc.NewBuffer = buffer;
        return TeeReturnCode.Success;
    }
}
