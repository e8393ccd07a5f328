namespace MinimalVmm.Guest;

/// <summary>A buffer that the guest shares: pages that are no neighbours, seen as one range of bytes.</summary>
/// <param name="Name">A name for messages.</param>
/// <param name="Cookie">The number by which guest and OP-TEE call it. Linux uses the address of a kernel object.</param>
/// <param name="FirstOffset">Where it begins in its first page.</param>
/// <param name="Length">Its length in bytes.</param>
/// <param name="Pages">Its pages, in order.</param>
internal sealed record SharedBuffer(string Name, ulong Cookie, ulong FirstOffset, ulong Length, params ulong[] Pages)
{
    public const ulong PageSize = 4096;

    /// <summary>The address of one byte.</summary>
    public ulong AddressOf(ulong offset) => Pages[(FirstOffset + offset) / PageSize] + ((FirstOffset + offset) % PageSize);

    /// <summary>The runs of bytes, none across the end of a page, that make up a piece of the buffer.</summary>
    public IEnumerable<(ulong Offset, ulong Address, ulong Length)> Runs(ulong offset, ulong length)
    {
        for (ulong end = offset + length; offset < end;)
        {
            ulong address = AddressOf(offset);
            ulong run = Math.Min(PageSize - (address % PageSize), end - offset);
            yield return (offset, address, run);
            offset += run;
        }
    }
}
