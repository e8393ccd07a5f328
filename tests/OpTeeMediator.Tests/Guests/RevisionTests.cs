using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Guests;

/// <summary>The revision that a guest's driver prints.</summary>
[TestFixture]
internal sealed class RevisionTests
{
    private static readonly OpTeeRevision Newer = new(4, 10, 0x0123_4567_89ab_cdef);

    [Test]
    public async Task GetOsRevision_TeeSaysOne_IsThatOfTheTee() =>
        Assert.That(await RevisionOfAsync(new ScriptedBackend { Revision = Newer }, new OpTeeGuestOptions()),
            Is.EqualTo(Newer));

    [Test]
    public async Task GetOsRevision_VmmSaysOne_IsThatOfTheVmm() =>
        Assert.That(
            await RevisionOfAsync(new ScriptedBackend { Revision = Newer },
                new OpTeeGuestOptions { Revision = new OpTeeRevision(3, 20, 7) }),
            Is.EqualTo(new OpTeeRevision(3, 20, 7)));

    [Test]
    public async Task GetOsRevision_NobodySaysOne_Is45() =>
        Assert.That(await RevisionOfAsync(new ScriptedBackend(), new OpTeeGuestOptions()),
            Is.EqualTo(new OpTeeRevision(4, 5, 0)));

    private static async Task<OpTeeRevision> RevisionOfAsync(ScriptedBackend backend, OpTeeGuestOptions options)
    {
        await using GuestBench bench = new(options, backend);
        SmcRegisters registers = bench.Driver.Call(OpTeeSmc.GetOsRevision);
        return new OpTeeRevision((uint)registers.X0, (uint)registers.X1, registers.X2);
    }
}
