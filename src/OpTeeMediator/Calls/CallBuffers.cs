using System.Numerics;
using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Calls;

/// <summary>The shared memory that a call's parameters name.</summary>
/// <remarks>Which buffers a call uses is published: by their ids rather than references, because a reference stored in
/// an old object costs a call into the garbage collector's barrier.</remarks>
internal struct CallBuffers
{
    private BufferIds _used;
    private TemporaryBuffers _temporary;
    private int _temporaryMask;
    private bool _isAnyUsed;

    /// <summary>Whether the call has buffers of its own, from <see cref="Attach"/>.</summary>
    public readonly bool HasTemporary => _temporaryMask != 0;

    public readonly bool IsAnyUsed => _isAnyUsed;

    /// <summary>Publishes that the call uses a registered buffer.</summary>
    /// <remarks>With release; the fence of <see cref="SequenceLock.IsUnchanged"/> comes after it.</remarks>
    public void Use(int parameter, SharedBuffer buffer)
    {
        _isAnyUsed = true;
        Volatile.Write(ref _used[parameter], buffer.Id);
    }

    /// <summary>Gives the call a buffer that is for this call only.</summary>
    public void Attach(int parameter, SharedBuffer buffer)
    {
        Use(parameter, buffer);
        _temporary[parameter] = buffer;
        _temporaryMask |= 1 << parameter;
    }

    /// <summary>Takes any one buffer out that is for this call only, whatever the backend did to the request.</summary>
    public SharedBuffer? DetachAny()
    {
        if (_temporaryMask == 0)
        {
            return null;
        }

        int parameter = BitOperations.TrailingZeroCount(_temporaryMask);
        _temporaryMask &= _temporaryMask - 1;
        SharedBuffer? buffer = _temporary[parameter];
        _temporary[parameter] = null;
        Volatile.Write(ref _used[parameter], 0);
        return buffer;
    }

    public readonly bool Contains(SharedBuffer buffer)
    {
        for (int parameter = 0; parameter < TeeRequest.ParameterCount; parameter++)
        {
            if (Volatile.Read(in _used[parameter]) == buffer.Id)
            {
                return true;
            }
        }

        return false;
    }

    public void Clear()
    {
        for (int parameter = 0; parameter < TeeRequest.ParameterCount; parameter++)
        {
            Volatile.Write(ref _used[parameter], 0);
        }

        if (_temporaryMask != 0)
        {
            _temporary = default;
            _temporaryMask = 0;
        }

        _isAnyUsed = false;
    }

    [InlineArray(TeeRequest.ParameterCount)]
    private struct BufferIds
    {
        private int _element0;
    }

    [InlineArray(TeeRequest.ParameterCount)]
    private struct TemporaryBuffers
    {
        private SharedBuffer? _element0;
    }
}
