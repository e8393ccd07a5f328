using System.Runtime.InteropServices;
using OpTeeMediator.Linux.Companion;

namespace OpTeeMediator.Tests.Companion;

/// <summary>The instructions that reach for the secure timer. Encodings as GNU as gives them.</summary>
[TestFixture]
internal sealed class SecureTimerPatchTests
{
    // Before and after: msr cntps_tval_el1, x0 · msr cntps_ctl_el1, x1 · mrs x2,
    // cntps_ctl_el1 · msr cntps_cval_el1, x30.
    [TestCase(0xd51f_e200u, 0xd51b_e200u)]
    [TestCase(0xd51f_e221u, 0xd51b_e221u)]
    [TestCase(0xd53f_e222u, 0xd53b_e222u)]
    [TestCase(0xd51f_e25eu, 0xd51b_e25eu)]
    public void Apply_AccessToTheSecureTimer_BecomesOneToThePhysicalTimer(uint before, uint after)
    {
        uint[] code = [0xd503_201f, before, 0xd65f_03c0];

        Assert.That(SecureTimerPatch.Apply(MemoryMarshal.AsBytes(code.AsSpan())), Is.EqualTo(1));
        Assert.That(code, Is.EqualTo(new[] { 0xd503_201f, after, 0xd65f_03c0 }));
    }

    // nop · mrs x0, cntfrq_el0 · msr cntp_ctl_el0, x1 · msr cntv_ctl_el0, x1 · s3_7_c14_c2_3 · s3_7_c14_c3_1.
    [TestCase(0xd503_201fu)]
    [TestCase(0xd53b_e000u)]
    [TestCase(0xd51b_e221u)]
    [TestCase(0xd51b_e321u)]
    [TestCase(0xd51f_e261u)]
    [TestCase(0xd51f_e321u)]
    public void Apply_AnythingElse_StaysAsItIs(uint instruction)
    {
        uint[] code = [instruction];

        Assert.That(SecureTimerPatch.Apply(MemoryMarshal.AsBytes(code.AsSpan())), Is.Zero);
        Assert.That(code[0], Is.EqualTo(instruction));
    }

    [Test]
    public void Apply_ImageOfOddLength_LooksAtWholeInstructions() =>
        Assert.That(SecureTimerPatch.Apply(new byte[7]), Is.Zero);
}
