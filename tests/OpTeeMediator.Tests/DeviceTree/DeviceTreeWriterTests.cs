using OpTeeMediator.Kvm.DeviceTree;

namespace OpTeeMediator.Tests.DeviceTree;

/// <summary>The writer of device trees, compared with dtc.</summary>
[TestFixture]
internal sealed class DeviceTreeWriterTests
{
    // dtc 1.6.1 made this of
    //   / {
    //       compatible = "linux,dummy-virt"; #address-cells = <2>; #size-cells = <2>;
    //       memory@40000000 { device_type = "memory"; reg = <0x0 0x40000000 0x0 0x10000000>; };
    //       firmware {
    //           optee { compatible = "linaro,optee-tz", "x"; always-on; seed = [01 02 03]; };
    //       };
    //   };
    private const string FromDtc = """
        d00dfeed0000017500000038000001300000002800000011000000100000000000000045000000f80000000000000000
        000000000000000000000001000000000000000300000011000000006c696e75782c64756d6d792d7669727400000000
        00000003000000040000000b0000000200000003000000040000001a00000002000000016d656d6f7279403430303030
        303030000000000300000007000000266d656d6f72790000000000030000001000000032000000004000000000000000
        1000000000000002000000016669726d7761726500000000000000016f70746565000000000000030000001200000000
        6c696e61726f2c6f707465652d747a007800000000000003000000000000003600000003000000030000004001020300
        00000002000000020000000200000009636f6d70617469626c650023616464726573732d63656c6c73002373697a652d
        63656c6c73006465766963655f747970650072656700616c776179732d6f6e007365656400
        """;

    [Test]
    public void ToArray_EveryKindOfProperty_IsWhatDtcWrites()
    {
        DeviceTreeWriter tree = new();
        using (tree.Node(""))
        {
            tree.Text("compatible", "linux,dummy-virt");
            tree.Cells("#address-cells", 2);
            tree.Cells("#size-cells", 2);
            using (tree.Node("memory@40000000"))
            {
                tree.Text("device_type", "memory");
                tree.Numbers("reg", 0x4000_0000, 0x1000_0000);
            }

            using (tree.Node("firmware"))
            using (tree.Node("optee"))
            {
                tree.Text("compatible", "linaro,optee-tz", "x");
                tree.Flag("always-on");
                tree.Property("seed", [1, 2, 3]);
            }
        }

        byte[] expected = Convert.FromHexString(FromDtc.ReplaceLineEndings(""));
        Assert.That(tree.ToArray(), Is.EqualTo(expected));
    }

    [Test]
    public void ToArray_OpenNode_Throws()
    {
        DeviceTreeWriter tree = new();
        _ = tree.Node("");

        Assert.That(tree.ToArray, Throws.InvalidOperationException.With.Message.Contains("open"));
    }

    [Test]
    public void Property_NoNode_Throws() =>
        Assert.That(() => new DeviceTreeWriter().Flag("ranges"), Throws.InvalidOperationException);
}
