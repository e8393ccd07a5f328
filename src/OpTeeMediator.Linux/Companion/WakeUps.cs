using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Linux.Companion;

/// <summary>Wakes those who wait in the guest's driver for an OP-TEE that has failed.</summary>
/// <remarks>A call that waits for another one's lock asks the driver to sleep until a notification of its value comes
/// (NOTIFICATION_WAIT), and Linux cannot end that sleep by anything else, not even by SIGKILL. Which values are waited
/// for only OP-TEE knew: so all are sent once. A value for which nobody waits does nothing, since the driver must begin
/// again anyway. Thread-safe.</remarks>
internal sealed class WakeUps
{
    // What Linux takes where OP-TEE does not say.
    private const int UsualGreatestValue = 255;

    // A bound for what OP-TEE says.
    private const int GreatestValue = 0xffff;

    private int _greatest = UsualGreatestValue;

    // 0, which stands for the bottom half, is sent to nobody.
    private int _next;

    /// <summary>OP-TEE has said how great values can be.</summary>
    public void SetGreatest(ulong value) =>
        Volatile.Write(ref _greatest, (int)ulong.Clamp(value, UsualGreatestValue, GreatestValue));

    /// <summary>OP-TEE has failed: from now on the driver gets each value once.</summary>
    public void Begin() => Volatile.Write(ref _next, Volatile.Read(ref _greatest));

    /// <summary>Another driver begins, for which nobody waits.</summary>
    public void End() => Volatile.Write(ref _next, 0);

    /// <summary>Answers GET_ASYNC_NOTIF_VALUE.</summary>
    /// <returns><see langword="false"/> if none is left.</returns>
    public bool TryTake(ref SmcRegisters registers, out SmcOutcome outcome)
    {
        int value;
        do
        {
            value = Volatile.Read(ref _next);
            if (value == 0)
            {
                outcome = default;
                return false;
            }
        }
        while (Interlocked.CompareExchange(ref _next, value - 1, value) != value);

        outcome = registers.AnswerX0ToX2(
            OpTeeSmc.ReturnOk, (uint)value,
            OpTeeSmc.NotificationValueIsValid | (value > 1 ? OpTeeSmc.NotificationsArePending : 0));
        return true;
    }
}
