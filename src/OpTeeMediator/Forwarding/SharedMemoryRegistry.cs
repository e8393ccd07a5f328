using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Messages;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Forwarding;

/// <summary>The memory that a VM shares with OP-TEE: entered before OP-TEE has it, removed after its release.</summary>
/// <remarks>
/// <para>OP-TEE has one list of shared memory and finds an entry by its cookie, the newest first. So each buffer has a
/// cookie of the forwarder's own there, which the guest never sees and which is never used again. The guest's cookies
/// name registered buffers only; those of memory for RPCs need not be unique.</para>
/// <para>Thread-safe. Only <see cref="TryTranslate"/> and <see cref="TryFindMessage"/> look without the lock.</para>
/// </remarks>
internal sealed class SharedMemoryRegistry
{
    /// <summary>OP-TEE's cookie of memory that the guest offered and that cannot be used. No buffer has it.</summary>
    public const ulong RefusedOffer = 1ul << 63;

    // OP-TEE's cookie of a buffer: its place + 1 below, a serial number above.
    private const int PlaceBits = 20;
    private const ulong PlaceMask = (1ul << PlaceBits) - 1;

    private readonly SharedBufferPool _pool;
    private readonly SequenceLock _lock = new();
    private readonly SharedMemoryTable _registered;
    private readonly SharedBuffer?[] _places;
    private readonly int[] _freePlaces;
    private int _freeCount;
    private ulong _serial;

    // Where the last search for any buffer ended, so that removing all of them looks at each place once.
    private int _searched;

    public SharedMemoryRegistry(SharedBufferPool pool, int capacity)
    {
        _pool = pool;
        _registered = new SharedMemoryTable(capacity);
        _places = new SharedBuffer?[capacity];
        _freePlaces = new int[capacity];
        _freeCount = capacity;
        for (int place = 0; place < capacity; place++)
        {
            _freePlaces[place] = capacity - 1 - place;
        }
    }

    /// <summary>How many buffers OP-TEE has.</summary>
    public int Count => _places.Length - Volatile.Read(ref _freeCount);

    /// <summary>Finds OP-TEE's cookie of a registered buffer.</summary>
    /// <remarks>If the buffer is unregistered before the call reaches OP-TEE, its cookie finds nothing there.</remarks>
    public bool TryTranslate(ulong cookie, out ulong teeCookie)
    {
        int version = _lock.Version;
        bool isFound = TryFindUsable(cookie, out teeCookie);
        if (!_lock.IsUnchanged(version))
        {
            using (_lock.Enter())
            {
                isFound = TryFindUsable(cookie, out teeCookie);
            }
        }

        return isFound;
    }

    /// <summary>Finds the message that a call's registers name.</summary>
    public bool TryFindMessage(uint functionId, in Smccc.SmcRegisters registers, out GuestRange place)
    {
        if (functionId != OpTeeSmc.CallWithRegisteredArgument)
        {
            return MessageLocator.TryFind(functionId, registers, _registered, null, out place);
        }

        int version = _lock.Version;
        bool isFound = MessageLocator.TryFind(functionId, registers, _registered, null, out place);
        if (!_lock.IsUnchanged(version))
        {
            using (_lock.Enter())
            {
                isFound = MessageLocator.TryFind(functionId, registers, _registered, null, out place);
            }
        }

        return isFound;
    }

    /// <summary>Pins the pages of a page list and enters them, unusable as yet.</summary>
    public TeeReturnCode TryEnterPageList(
        ulong pointer, ulong size, ulong cookie, BufferRole role, out SharedBuffer? buffer)
    {
        TeeReturnCode code = _pool.TryCreateFromPageList(pointer, size, cookie, isTemporary: false, out buffer);
        return code == TeeReturnCode.Success ? TryEnter(role, ref buffer) : code;
    }

    /// <summary>Pins contiguous guest memory and enters it, unusable as yet.</summary>
    public TeeReturnCode TryEnterContiguous(
        ulong address, ulong size, ulong cookie, BufferRole role, out SharedBuffer? buffer)
    {
        TeeReturnCode code = _pool.TryCreateContiguous(address, size, cookie, out buffer);
        return code == TeeReturnCode.Success ? TryEnter(role, ref buffer) : code;
    }

    /// <summary>Lets calls refer to a registered buffer.</summary>
    public void MakeUsable(SharedBuffer buffer)
    {
        using SequenceLock.Scope scope = _lock.Enter();
        buffer.IsUsable = true;
    }

    /// <summary>Keeps calls from referring to a registered buffer, which is about to be unregistered.</summary>
    public SharedBuffer? MakeUnusable(ulong cookie)
    {
        using SequenceLock.Scope scope = _lock.Enter();
        SharedBuffer? buffer = _registered.Find(cookie) is { IsUsable: true } found ? found : null;
        buffer?.IsUsable = false;
        return buffer;
    }

    public SharedBuffer? Find(ulong teeCookie)
    {
        using SequenceLock.Scope scope = _lock.Enter();
        return FindUnguarded(teeCookie);
    }

    /// <summary>The guest's cookie of what OP-TEE names; 0 if there is no such buffer.</summary>
    public ulong GuestCookieOf(ulong teeCookie)
    {
        using SequenceLock.Scope scope = _lock.Enter();
        return FindUnguarded(teeCookie)?.Cookie ?? 0;
    }

    /// <summary>Any one buffer, or any one of a role.</summary>
    public SharedBuffer? FindAny(BufferRole? role)
    {
        using SequenceLock.Scope scope = _lock.Enter();
        for (int step = 0; step < _places.Length; step++)
        {
            if (_places[_searched] is { } buffer && (role is null || buffer.Role == role))
            {
                return buffer;
            }

            _searched = _searched + 1 == _places.Length ? 0 : _searched + 1;
        }

        return null;
    }

    /// <summary>Removes a buffer, and unpins it if OP-TEE has released it.</summary>
    public void Remove(SharedBuffer buffer, bool staysPinned = false)
    {
        using (_lock.Enter())
        {
            int place = (int)(buffer.TeeCookie & PlaceMask) - 1;
            _places[place] = null;
            _freePlaces[_freeCount++] = place;
            if (buffer.Role == BufferRole.Registered)
            {
                _ = _registered.Remove(buffer.Cookie);
            }
        }

        if (!staysPinned)
        {
            _pool.Return(buffer);
        }
    }

    private bool TryFindUsable(ulong cookie, out ulong teeCookie)
    {
        SharedBuffer? buffer = _registered.Find(cookie);
        bool isFound = buffer is { IsUsable: true };
        teeCookie = isFound ? buffer!.TeeCookie : 0;
        return isFound;
    }

    private SharedBuffer? FindUnguarded(ulong teeCookie)
    {
        ulong place = (teeCookie & PlaceMask) - 1;
        SharedBuffer? buffer = place < (ulong)_places.Length ? _places[place] : null;
        return buffer?.TeeCookie == teeCookie ? buffer : null;
    }

    private TeeReturnCode TryEnter(BufferRole role, ref SharedBuffer? buffer)
    {
        SharedBuffer entered = buffer!;
        entered.Role = role;
        using (_lock.Enter())
        {
            // OP-TEE itself has cookie 0 for messages, and never asks to free it.
            if (entered.Cookie != 0 && _freeCount > 0 && (role != BufferRole.Registered || _registered.TryAdd(entered)))
            {
                int place = _freePlaces[--_freeCount];
                _places[place] = entered;
                entered.TeeCookie = (++_serial << PlaceBits) | (uint)(place + 1);
                return TeeReturnCode.Success;
            }
        }

        buffer = null;
        _pool.Return(entered);
        return TeeReturnCode.BadParameters;
    }
}
