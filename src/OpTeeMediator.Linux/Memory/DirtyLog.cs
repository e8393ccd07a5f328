using System.Numerics;
using OpTeeMediator.Kvm;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Memory;

/// <summary>KVM's log of what one VM writes to some regions, which lie in consecutive slots.</summary>
/// <remarks>Not thread-safe.</remarks>
internal sealed class DirtyLog(KvmVm vm, int firstSlot, GuestRange[] ranges)
{
    private const int BitsPerWord = 64;

    private readonly ulong[][] _words = [.. ranges.Select(range =>
        new ulong[(range.Length / (ulong)Environment.SystemPageSize + BitsPerWord - 1) / BitsPerWord])];

    internal KvmVm Vm { get; } = vm;

    internal void Set(bool isOn)
    {
        for (int index = 0; index < ranges.Length; index++)
        {
            Vm.SetDirtyLog(firstSlot + index, isOn);
        }
    }

    /// <summary>Empties the log.</summary>
    internal void MoveTo(WrittenPages written)
    {
        ulong pageSize = (ulong)Environment.SystemPageSize;
        for (int index = 0; index < ranges.Length; index++)
        {
            ulong[] words = _words[index];
            Vm.GetDirtyLog(firstSlot + index, words);
            for (int word = 0; word < words.Length; word++)
            {
                for (ulong bits = words[word]; bits != 0; bits &= bits - 1)
                {
                    ulong page = ((ulong)word * BitsPerWord) + (ulong)BitOperations.TrailingZeroCount(bits);
                    written.Add(ranges[index].Start.Value + (page * pageSize), pageSize);
                }
            }
        }
    }

    /// <summary>As if the VM had written everything.</summary>
    internal void MoveAllTo(WrittenPages written)
    {
        foreach (GuestRange range in ranges)
        {
            written.Add(range.Start.Value, range.Length);
        }
    }
}
