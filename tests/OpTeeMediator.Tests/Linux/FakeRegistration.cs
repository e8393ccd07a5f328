using System.Runtime.InteropServices;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Tests.Linux;

/// <summary>Pages that <see cref="FakeTeeDevice"/> has "pinned": mapped a second time, so that they stay whatever
/// becomes of the first mapping.</summary>
internal sealed unsafe partial class FakeRegistration : SafeHandle
{
    private const int MREMAP_MAYMOVE = 1;
    private const int MREMAP_FIXED = 2;

    private readonly nuint _mappedLength;
    private readonly nuint _lead;
    private readonly int _length;
    private readonly Action _onRelease;

    private FakeRegistration(nint mapping, nuint mappedLength, nuint lead, int length, Action onRelease)
        : base(0, ownsHandle: true)
    {
        SetHandle(mapping);
        _mappedLength = mappedLength;
        _lead = lead;
        _length = length;
        _onRelease = onRelease;
    }

    public override bool IsInvalid => handle == 0;

    internal Span<byte> Bytes => new((byte*)handle + _lead, _length);

    internal static FakeRegistration Pin(nint address, nuint length, Action onRelease)
    {
        nuint page = (nuint)Environment.SystemPageSize;
        nuint lead = (nuint)address % page;
        nuint mappedLength = (lead + length + page - 1) / page * page;
        nint target = LibC.Map(0, mappedLength, LibC.PROT_NONE, LibC.MAP_PRIVATE | LibC.MAP_ANONYMOUS, -1, 0);
        for (nuint offset = 0; offset < mappedLength; offset += page)
        {
            // An old length of 0 makes mremap map shared pages again instead of moving them.
            nint copy = Remap(address - (nint)lead + (nint)offset, 0, page, MREMAP_MAYMOVE | MREMAP_FIXED,
                target + (nint)offset);
            Assert.That(copy, Is.EqualTo(target + (nint)offset), "mremap of shared memory");
        }

        return new FakeRegistration(target, mappedLength, lead, (int)length, onRelease);
    }

    protected override bool ReleaseHandle()
    {
        _onRelease();
        return LibC.Unmap(handle, _mappedLength) == 0;
    }

    [LibraryImport("libc", EntryPoint = "mremap", SetLastError = true)]
    private static partial nint Remap(nint oldAddress, nuint oldLength, nuint newLength, int flags, nint newAddress);
}
