using OpTeeMediator.Protocol;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The guide's snippet about the META parameters of OPEN_SESSION; a test compares it with a
/// driver's.</summary>
internal static class OpenSession
{
    internal static ulong[][] MetaParameters(Guid application)
    {
        // <snippet>
        const uint Meta = OpTeeMessage.TypeValueInput | OpTeeMessage.AttributeMeta; // 0x101
        byte[] bytes = application.ToByteArray(bigEndian: true);
        ulong[] first = [Meta, BitConverter.ToUInt64(bytes), BitConverter.ToUInt64(bytes, 8), 0];
        ulong[] second = [Meta, 0, 0, 0]; // a public client
        // </snippet>
        return [first, second];
    }
}
