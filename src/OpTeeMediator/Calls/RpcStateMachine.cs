using System.Diagnostics;
using OpTeeMediator.Backends;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Calls;

/// <summary>The steps of a call's way through the guest: what the guest is asked next, and
/// what its return means.</summary>
/// <remarks>
/// Each step sets the slot's <see cref="RpcStage"/> and returns the registers that carry what is asked, with which the
/// call is to be suspended; none if nothing is asked, and the call goes on.
/// </remarks>
internal sealed class RpcStateMachine(RpcMessageCodec channel, NotificationQueue notifications, TimeSpan sleepAfter)
{
    // Linux sleeps uninterruptibly while a call is sleeping, and warns of tasks that do so for two minutes.
    private static readonly TimeSpan SleepAtMost = TimeSpan.FromSeconds(55);

    /// <summary>Carries the backend's call to the guest, or asks for memory for it first.</summary>
    public SmcRegisterSet Ask(CallSlot slot, ref SmcRegisters registers)
    {
        if (!RpcMessageCodec.HasPlace(slot))
        {
            return AskForMemory(slot, ref registers);
        }

        if (!channel.TryWriteCall(slot))
        {
            // The guest has taken away the memory of its own message.
            slot.EndRpc(TeeReturnCode.Communication);
            return SmcRegisterSet.None;
        }

        slot.BeginRpc();
        slot.Stage = RpcStage.Calling;
        return RpcMessageCodec.AskForCommand(slot, ref registers);
    }

    /// <summary>Has the guest's thread sleep until the operation has ended, if it runs long
    /// and the guest can.</summary>
    public SmcRegisterSet TryBeginSleep(CallSlot slot, ref SmcRegisters registers)
    {
        if (!notifications.IsEnabled || slot.CannotSleep || Stopwatch.GetElapsedTime(slot.WaitsSince) < sleepAfter)
        {
            return SmcRegisterSet.None;
        }

        if (!RpcMessageCodec.HasPlace(slot))
        {
            return AskForMemory(slot, ref registers);
        }

        if (!slot.TryBeginSleep(SleepAtMost))
        {
            return SmcRegisterSet.None;
        }

        // STOP_ASYNC_NOTIF either sees this call asleep, or is seen here.
        if (!notifications.IsEnabled)
        {
            slot.EndSleep();
            return SmcRegisterSet.None;
        }

        if (channel.TryWriteSleep(slot, NotificationQueue.ValueOf(slot.Index)))
        {
            slot.Stage = RpcStage.Sleeping;
            return RpcMessageCodec.AskForCommand(slot, ref registers);
        }

        slot.EndSleep();
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
                if (!channel.TryTakeMemory(slot, registers, out ulong cookie))
                {
                    if (cookie != 0)
                    {
                        slot.Stage = RpcStage.RefusingMemory;
                        return RpcMessageCodec.AskToFree(cookie, ref registers);
                    }

                    GoOnWithoutMemory(slot);
                }

                break;

            case RpcStage.RefusingMemory:
                GoOnWithoutMemory(slot);
                break;

            case RpcStage.Calling:
                TeeReturnCode answer = channel.ReadAnswer(slot, out bool declines);
                if (declines && channel.TryWriteCall(slot))
                {
                    slot.Stage = RpcStage.Declining;
                    return RpcMessageCodec.AskForCommand(slot, ref registers);
                }

                slot.WaitsSince = 0;
                slot.EndRpc(answer);
                break;

            case RpcStage.Declining:
                slot.EndRpc(TeeReturnCode.OutOfMemory);
                break;

            case RpcStage.Sleeping:
                slot.EndSleep();
                slot.CannotSleep = !channel.ReadSleepAnswer(slot);
                slot.WaitsSince = 0;
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
        if (channel.TryGiveBackMemory(slot))
        {
            slot.Stage = RpcStage.Concluding;
            return RpcMessageCodec.AskForCommand(slot, ref registers);
        }

        if (slot.RpcBuffer is not { } buffer)
        {
            return SmcRegisterSet.None;
        }

        slot.RpcBuffer = null;
        if (slot.DriverInstance!.RpcBuffers.TryKeep(buffer))
        {
            return SmcRegisterSet.None;
        }

        slot.Stage = RpcStage.Concluding;
        return RpcMessageCodec.AskToFree(buffer.Cookie, ref registers);
    }

    /// <summary>Discards what a call had from a guest that will not resume it.</summary>
    public void Discard(CallSlot slot) => channel.Discard(slot);

    // There is no room for an RPC message: neither for a wait nor for the backend's call, if it has asked for one.
    private static void GoOnWithoutMemory(CallSlot slot)
    {
        slot.CannotSleep = true;
        slot.EndRpc(TeeReturnCode.OutOfMemory);
    }

    private static SmcRegisterSet AskForMemory(CallSlot slot, ref SmcRegisters registers)
    {
        slot.Stage = RpcStage.Allocating;
        return RpcMessageCodec.AskForMemory(ref registers);
    }
}
