using System.Runtime.CompilerServices;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Tests.Protocol;

/// <summary>struct optee_msg_arg and optee_msg_param as OP-TEE 4.5's <c>optee_msg.h</c> has them.</summary>
[Parallelizable(ParallelScope.All)]
internal sealed class LayoutTests
{
    private static MessageHeader s_header;
    private static MessageParameter s_parameter;

    [Test]
    public void Sizes_OfTheStructures_Are32AndTheMessageIsDense()
    {
        Assert.That((Unsafe.SizeOf<MessageHeader>(), Unsafe.SizeOf<MessageParameter>()), Is.EqualTo((32, 32)));
        Assert.That(Unsafe.SizeOf<Message>(), Is.EqualTo(32 + (6 * 32)));
    }

    [Test]
    public void Offsets_OfTheHeader_AreDocumented() => Assert.That(
        (
            OffsetInHeader(ref s_header.Command), OffsetInHeader(ref s_header.Function),
            OffsetInHeader(ref s_header.Session), OffsetInHeader(ref s_header.CancelId),
            OffsetInHeader(ref s_header.Padding), OffsetInHeader(ref s_header.ReturnCode),
            OffsetInHeader(ref s_header.ReturnOrigin), OffsetInHeader(ref s_header.ParameterCount)),
        Is.EqualTo((0, 4, 8, 12, 16, 20, 24, 28)));

    [Test]
    public void Offsets_OfAParameter_AreDocumented() => Assert.That(
        (
            OffsetInParameter(ref s_parameter.Attributes),
            OffsetInParameter(ref s_parameter.A),
            OffsetInParameter(ref s_parameter.B),
            OffsetInParameter(ref s_parameter.C)),
        Is.EqualTo((0, 8, 16, 24)));

    // The octets of a UUID, first to last, as little-endian words: the enumeration's, as Linux sends it.
    [Test]
    public void Uuid_OfWords_IsItsOctetsInOrder() => Assert.That(
        new MessageParameter { A = 0x5340_dedd_88a6_1170, B = 0xb813_df4d_3c7b_a9a5 }.Uuid,
        Is.EqualTo(new Guid("7011a688-ddde-4053-a5a9-7b3c4ddf13b8")));

    private static int OffsetInHeader<T>(ref T field) =>
        (int)Unsafe.ByteOffset(ref Unsafe.As<MessageHeader, byte>(ref s_header), ref Unsafe.As<T, byte>(ref field));

    private static int OffsetInParameter<T>(ref T field) =>
        (int)Unsafe.ByteOffset(
            ref Unsafe.As<MessageParameter, byte>(ref s_parameter), ref Unsafe.As<T, byte>(ref field));
}
