using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Forwarding;

/// <summary>The memory that a VM shares with OP-TEE: entered before OP-TEE hears of it, struck out when OP-TEE has let go.</summary>
/// <remarks>
/// <para>OP-TEE finds buffers by cookie, the newest first, and has cookies of its own for what only it may use. So a cookie has one meaning at a time: it
/// is refused while it is known, or while a call that may refer to its former meaning is in flight. 0 is always refused, because OP-TEE names the
/// messages themselves so.</para>
/// <para>Thread-safe. Changes happen inside the gate; <see cref="IsRegistered"/> looks without.</para>
/// </remarks>
internal sealed class ForwardedBooks
{
    private readonly ForwardedCall[] _calls;
    private readonly SharedBufferPool _buffers;
    private readonly int _capacity;
    private readonly ChangeGate _gate = new();
    private SharedMemoryTable _table;

    public ForwardedBooks(ForwardedCall[] calls, SharedBufferPool buffers, int capacity)
    {
        _calls = calls;
        _buffers = buffers;
        _capacity = capacity;
        _table = new SharedMemoryTable(capacity);
    }

    public SharedMemoryTable Table => _table;

    /// <summary>Whether a call may refer to a cookie that it has published.</summary>
    public bool IsRegistered(ulong cookie)
    {
        int version = _gate.Version;
        bool isRegistered = _table.Find(cookie) is { IsUsable: true };
        if (!_gate.IsUnchanged(version))
        {
            using (_gate.Enter())
            {
                isRegistered = _table.Find(cookie) is { IsUsable: true };
            }
        }

        return isRegistered;
    }

    /// <summary>Finds where a message lies that a call's registers name.</summary>
    public bool TryFindMessage(uint functionId, in Smccc.SmcRegisters registers, out GuestRange place)
    {
        if (functionId != OpTeeSmc.CallWithRegisteredArgument)
        {
            return Calls.MessagePlace.TryFind(functionId, registers, _table, null, out place);
        }

        int version = _gate.Version;
        bool isFound = Calls.MessagePlace.TryFind(functionId, registers, _table, null, out place);
        if (!_gate.IsUnchanged(version))
        {
            using (_gate.Enter())
            {
                isFound = Calls.MessagePlace.TryFind(functionId, registers, _table, null, out place);
            }
        }

        return isFound;
    }

    /// <summary>Pins the pages of a page list and enters them, unusable as yet.</summary>
    public TeeReturnCode TryEnterPageList(ulong pointer, ulong size, ulong cookie, BufferRole role, out SharedBuffer? buffer)
    {
        TeeReturnCode code = _buffers.TryCreateFromPageList(pointer, size, cookie, isTemporary: false, out buffer);
        return code == TeeReturnCode.Success ? TryEnter(role, ref buffer) : code;
    }

    /// <summary>Pins contiguous guest memory and enters it, unusable as yet.</summary>
    public TeeReturnCode TryEnterContiguous(ulong address, ulong size, ulong cookie, BufferRole role, out SharedBuffer? buffer)
    {
        TeeReturnCode code = _buffers.TryCreateContiguous(address, size, cookie, out buffer);
        return code == TeeReturnCode.Success ? TryEnter(role, ref buffer) : code;
    }

    /// <summary>Lets calls refer to a buffer.</summary>
    public void MakeUsable(SharedBuffer buffer)
    {
        using (_gate.Enter())
        {
            buffer.IsUsable = true;
        }
    }

    /// <summary>Keeps calls from referring to a registered buffer, which is about to be unregistered.</summary>
    /// <returns><see langword="null"/> if there is no such buffer.</returns>
    public SharedBuffer? MakeUnusable(ulong cookie)
    {
        using (_gate.Enter())
        {
            SharedBuffer? buffer = _table.Find(cookie);
            if (buffer is not { IsUsable: true })
            {
                return null;
            }

            buffer.IsUsable = false;
            return buffer;
        }
    }

    /// <summary>Finds a buffer for RPC messages that OP-TEE has.</summary>
    public SharedBuffer? FindRpcMessageBuffer(ulong cookie)
    {
        using (_gate.Enter())
        {
            return _table.Find(cookie) is { Role: BufferRole.RpcMessage } buffer ? buffer : null;
        }
    }

    /// <summary>Strikes out a buffer that OP-TEE has let go, and unpins it.</summary>
    public void Remove(SharedBuffer buffer)
    {
        using (_gate.Enter())
        {
            _ = _table.Remove(buffer.Cookie);
        }

        _buffers.Return(buffer);
    }

    /// <summary>Strikes out a buffer of a role that OP-TEE has let go.</summary>
    /// <returns>Its shadow page, or <see langword="null"/> if there is no such buffer.</returns>
    public int? Remove(ulong cookie, BufferRole role)
    {
        SharedBuffer? buffer;
        using (_gate.Enter())
        {
            buffer = _table.Find(cookie);
            if (buffer is null || buffer.Role != role)
            {
                return null;
            }

            _ = _table.Remove(cookie);
        }

        int shadowPage = buffer.ShadowPage;
        _buffers.Return(buffer);
        return shadowPage;
    }

    /// <summary>OP-TEE has let go of everything: unpins all.</summary>
    public void Clear()
    {
        SharedMemoryTable old;
        using (_gate.Enter())
        {
            old = _table;
            _table = new SharedMemoryTable(_capacity);
        }

        while (old.RemoveAny() is { } buffer)
        {
            _buffers.Return(buffer);
        }
    }

    private TeeReturnCode TryEnter(BufferRole role, ref SharedBuffer? buffer)
    {
        SharedBuffer entered = buffer!;
        entered.Role = role;
        bool isEntered;
        using (_gate.Enter())
        {
            isEntered = entered.Cookie != 0 && _table.Count < _capacity && _table.TryAdd(entered);
        }

        // A call publishes what it refers to, then looks; this enters, then looks who has published. One of the two sees the other.
        if (isEntered && IsInUse(entered.Cookie))
        {
            using (_gate.Enter())
            {
                _ = _table.Remove(entered.Cookie);
            }

            isEntered = false;
        }

        if (isEntered)
        {
            return TeeReturnCode.Success;
        }

        buffer = null;
        _buffers.Return(entered);
        return TeeReturnCode.BadParameters;
    }

    private bool IsInUse(ulong cookie)
    {
        foreach (ForwardedCall call in _calls)
        {
            if (call.Uses(cookie))
            {
                return true;
            }
        }

        return false;
    }
}
