using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Calls;

/// <summary>Writes the results of a call into its message, through a window where the memory has one.</summary>
/// <remarks>Only outputs are written: the guest may have put something new beside them. A write that fails is lost, as
/// the guest has taken away the memory of its own message.</remarks>
internal readonly ref struct MessageWriter
{
    private const int FirstWordOffset = 8;
    private const int SecondWordOffset = 16;

    private readonly NonThrowingGuestMemory _memory;
    private readonly GuestAddress _address;
    private readonly Span<MessageHeader> _header;
    private readonly Span<MessageParameter> _parameters;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public MessageWriter(NonThrowingGuestMemory memory, GuestAddress address, int parameters)
    {
        _memory = memory;
        _address = address;
        if (memory.TryGetWindow(address, OpTeeMessage.Size(parameters), out Span<byte> window))
        {
            _header = MemoryMarshal.Cast<byte, MessageHeader>(window[..OpTeeMessage.HeaderSize]);
            _parameters = MemoryMarshal.Cast<byte, MessageParameter>(window[OpTeeMessage.HeaderSize..]);
        }
    }

    public void WriteSession(uint id)
    {
        if (_header.IsEmpty)
        {
            Write(MessageHeader.SessionOffset, id);
        }
        else
        {
            _header[0].Session = id;
        }
    }

    /// <summary>Writes the return code alone: REGISTER_SHM and UNREGISTER_SHM leave the origin as it is.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void WriteReturnCode(TeeReturnCode code)
    {
        if (_header.IsEmpty)
        {
            Write(MessageHeader.ReturnCodeOffset, (uint)code);
        }
        else
        {
            _header[0].ReturnCode = (uint)code;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void WriteResult(TeeResult result)
    {
        WriteReturnCode(result.Code);
        if (_header.IsEmpty)
        {
            Write(MessageHeader.ReturnOriginOffset, (uint)result.Origin);
        }
        else
        {
            _header[0].ReturnOrigin = (uint)result.Origin;
        }
    }

    /// <summary>Writes what the parameters carry back: the two numbers of a value, the size of a memory reference. The
    /// copy of the message says what is an output, and of which kind, whatever the backend did.</summary>
    public void WriteParameters(ref readonly Message message, int first, ReadOnlySpan<TeeParameter> parameters)
    {
        for (int index = 0; index < parameters.Length; index++)
        {
            uint type = message.Parameters[first + index].Type;
            if ((type & OpTeeMessage.TypeValueOutput) == 0)
            {
                continue;
            }

            ref readonly TeeParameter parameter = ref parameters[index];
            bool isValue = type <= OpTeeMessage.TypeValueInOut;
            if (_header.IsEmpty)
            {
                int offset = OpTeeMessage.Size(first + index);
                Write(offset + SecondWordOffset, parameter.B);
                if (isValue)
                {
                    Write(offset + FirstWordOffset, parameter.A);
                }
            }
            else
            {
                ref MessageParameter written = ref _parameters[first + index];
                written.B = parameter.B;
                if (isValue)
                {
                    written.A = parameter.A;
                }
            }
        }
    }

    private void Write<T>(int offset, T value)
        where T : unmanaged => _ = _memory.TryWrite(_address.Add((ulong)offset), value);
}
