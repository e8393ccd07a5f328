using System.Runtime.InteropServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Calls;

/// <summary>Writes the results of a call into its message, through a window where the memory has one.</summary>
/// <remarks>
/// Only outputs are written: the guest may have put something new beside them. A write that fails is lost, as the guest has taken away the
/// memory of its own message.
/// </remarks>
internal readonly ref struct MessageWriter
{
    private const int SessionOffset = 8;
    private const int ReturnCodeOffset = 20;
    private const int ReturnOriginOffset = 24;
    private const int ValueOffset = 8;
    private const int SizeOffset = 16;

    private readonly IGuestMemory _memory;
    private readonly GuestAddress _address;
    private readonly Span<byte> _window;

    /// <summary>Begins to write.</summary>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="mapped">The same memory, if it has windows.</param>
    /// <param name="address">Where the message lies.</param>
    /// <param name="parameters">How many parameters it has, of those that are used at all.</param>
    public MessageWriter(IGuestMemory memory, IMappedGuestMemory? mapped, GuestAddress address, int parameters)
    {
        _memory = memory;
        _address = address;
        if (mapped is not null && mapped.TryGetWindow(address, OpTeeMessage.Size(parameters), out Span<byte> window))
        {
            _window = window;
        }
    }

    public void WriteSession(uint id) => Write(SessionOffset, id);

    /// <summary>Writes the return code alone: REGISTER_SHM and UNREGISTER_SHM leave the origin as it is.</summary>
    public void WriteReturnCode(TeeReturnCode code) => Write(ReturnCodeOffset, (uint)code);

    public void WriteResult(TeeResult result)
    {
        Write(ReturnCodeOffset, (uint)result.Code);
        Write(ReturnOriginOffset, (uint)result.Origin);
    }

    /// <summary>Writes what the parameter carries back: the two numbers of a value, the size of a memory reference.</summary>
    public void WriteParameter(int index, in TeeParameter parameter)
    {
        if (!parameter.IsOutput)
        {
            return;
        }

        int offset = OpTeeMessage.Size(index);
        if (parameter.IsMemory)
        {
            Write(offset + SizeOffset, parameter.Size);
        }
        else
        {
            Write(offset + ValueOffset, parameter.A);
            Write(offset + ValueOffset + sizeof(ulong), parameter.B);
        }
    }

    private void Write<T>(int offset, T value)
        where T : unmanaged
    {
        if (_window.IsEmpty)
        {
            _ = _memory.TryWrite(_address.Add((ulong)offset), value);
        }
        else
        {
            MemoryMarshal.Write(_window[offset..], value);
        }
    }
}
