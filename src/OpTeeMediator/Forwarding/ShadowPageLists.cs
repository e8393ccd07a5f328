using OpTeeMediator.Backends;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Forwarding;

/// <summary>Page lists of physical addresses in shadow pages, which OP-TEE gets instead of the guest's.</summary>
/// <remarks>Thread-safe.</remarks>
internal sealed class ShadowPageLists(GuardedMemory memory, ShadowPool shadows)
{
    /// <summary>No list.</summary>
    public const int None = -1;

    /// <summary>Writes the list of a pinned buffer.</summary>
    /// <param name="buffer">The buffer.</param>
    /// <param name="list">The first shadow page of the list, if the answer is success; <see cref="None"/> otherwise.</param>
    public TeeReturnCode TryWrite(SharedBuffer buffer, out int list)
    {
        if (!shadows.TryTake(ShadowPool.ListPages(buffer.Pages.Count), out list))
        {
            list = None;
            return TeeReturnCode.OutOfMemory;
        }

        if (memory.TryTranslate(buffer.Pages, shadows, list))
        {
            return TeeReturnCode.Success;
        }

        Drop(ref list);
        return TeeReturnCode.BadParameters;
    }

    /// <summary>Takes a list back that OP-TEE has read.</summary>
    public void Drop(ref int list)
    {
        if (list != None)
        {
            shadows.Return(list);
            list = None;
        }
    }
}
