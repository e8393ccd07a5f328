using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Linux.Memory;

/// <summary>Addresses of this process that removed regions have left, and that the next regions get.</summary>
/// <remarks>Neighbours become one range, so that regions of growing size, each added after the last was removed, need
/// no more addresses than two of them. Not thread-safe.</remarks>
internal sealed class ReservedAddresses
{
    // In the order of their addresses; no two touch each other.
    private readonly List<(nint Address, nuint Length)> _ranges = [];

    internal void Add(nint address, nuint length)
    {
        int index = _ranges.FindIndex(range => range.Address > address);
        index = index < 0 ? _ranges.Count : index;
        if (index < _ranges.Count && address + (nint)length == _ranges[index].Address)
        {
            length += _ranges[index].Length;
            _ranges.RemoveAt(index);
        }

        if (index > 0 && _ranges[index - 1] is var previous && previous.Address + (nint)previous.Length == address)
        {
            _ranges[index - 1] = (previous.Address, previous.Length + length);
            return;
        }

        _ranges.Insert(index, (address, length));
    }

    /// <summary>Takes a range out, from the smallest one that contains it; 0 if none is long enough.</summary>
    internal nint TryTake(nuint length)
    {
        int best = -1;
        for (int index = 0; index < _ranges.Count; index++)
        {
            if (_ranges[index].Length >= length && (best < 0 || _ranges[index].Length < _ranges[best].Length))
            {
                best = index;
            }
        }

        if (best < 0)
        {
            return 0;
        }

        (nint address, nuint found) = _ranges[best];
        if (found == length)
        {
            _ranges.RemoveAt(best);
        }
        else
        {
            _ranges[best] = (address + (nint)length, found - length);
        }

        return address;
    }

    internal void Unmap()
    {
        foreach ((nint address, nuint length) in _ranges)
        {
            _ = LibC.Unmap(address, length);
        }

        _ranges.Clear();
    }
}
