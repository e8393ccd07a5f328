using System.Runtime.InteropServices;

namespace OpTeeMediator.Protocol;

/// <summary>struct optee_msg_param (<c>optee_msg.h</c>); its union has three words in every form.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MessageParameter
{
    /// <summary>attr.</summary>
    public ulong Attributes;

    /// <summary>value.a, tmem.buf_ptr or rmem.offs.</summary>
    public ulong A;

    /// <summary>value.b, tmem.size or rmem.size.</summary>
    public ulong B;

    /// <summary>value.c, tmem.shm_ref or rmem.shm_ref.</summary>
    public ulong C;

    /// <summary>OPTEE_MSG_ATTR_TYPE_* of the attributes.</summary>
    public readonly uint Type => (uint)Attributes & OpTeeMessage.TypeMask;

    /// <summary>Whether all three words are 0: a reference to no memory, whatever its type.</summary>
    public readonly bool IsNothing => (A | B | C) == 0;

    /// <summary>The UUID whose 16 octets fill the first two words.</summary>
    public readonly Guid Uuid
    {
        get
        {
            Span<ulong> words = [A, B];
            return new Guid(MemoryMarshal.AsBytes(words), bigEndian: true);
        }
    }
}
