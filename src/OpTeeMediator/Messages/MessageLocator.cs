using System.Runtime.CompilerServices;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Messages;

/// <summary>Where in guest memory the message of a call lies, by what its registers say.</summary>
internal static class MessageLocator
{
    /// <summary>Finds where the message can be: from its first byte to the end of its page, or of its buffer.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryFind(uint functionId, in SmcRegisters registers, SharedMemoryTable buffers,
        GuestRange? reserved, out GuestRange place)
    {
        ulong name = registers.Pair(1, 2);
        if (functionId == OpTeeSmc.CallWithRegisteredArgument)
        {
            ulong offset = (uint)registers[3];
            place = default;
            return offset % sizeof(ulong) == 0
                && buffers.Find(name) is { IsUsable: true } buffer
                && buffer.TryGetRun(offset, out place)
                && place.Start.IsAligned(sizeof(ulong));
        }

        GuestAddress address = name;
        if (address.IsAligned(OpTeeMessage.PageSize) && name <= ulong.MaxValue - OpTeeMessage.PageSize)
        {
            place = new GuestRange(address, OpTeeMessage.PageSize);
            return true;
        }

        bool isReserved = reserved is { } region && region.Contains(address, 1) && address.IsAligned(sizeof(ulong));
        place = isReserved ? new GuestRange(address, reserved!.Value.End.Value - name) : default;
        return isReserved;
    }
}
