using System.Buffers;
using System.Buffers.Binary;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.ReadmeSnippets;

// <snippet>
internal sealed class Counter : TrustedApplication, ISavableApplication
{
    private long _count;

    public void SaveInstance(IBufferWriter<byte> state)
    {
        BinaryPrimitives.WriteInt64LittleEndian(state.GetSpan(sizeof(long)), _count);
        state.Advance(sizeof(long));
    }

    public void RestoreInstance(ReadOnlySpan<byte> state) => _count = BinaryPrimitives.ReadInt64LittleEndian(state);
}
// </snippet>
