using System.Security.Cryptography;
using KvmVmm.DeviceTree;
using OpTeeMediator.Kvm.DeviceTree;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Machines.Partitioned;

/// <summary>The device tree of the partitioned machine's guest: qemu's devices, where qemu has them.</summary>
internal static class GuestDeviceTree
{
    private const uint GicHandle = 1;
    private const uint SharedInterrupt = 0;
    private const uint PrivateInterrupt = 1;
    private const uint LevelHigh = 4;

    public static byte[] Write(
        GuestRange ram, int cpus, string commandLine, GuestRange initrd, OpTeeDeviceTreeNode optee)
    {
        DeviceTreeWriter tree = new();
        using (tree.Node(""))
        {
            tree.Text("compatible", "linux,dummy-virt");
            tree.Cells("#address-cells", 2);
            tree.Cells("#size-cells", 2);
            tree.Cells("interrupt-parent", GicHandle);
            using (tree.Node("chosen"))
            {
                tree.Text("bootargs", commandLine);
                tree.Text("stdout-path", "/uart@9000000");
                tree.Numbers("linux,initrd-start", initrd.Start.Value);
                tree.Numbers("linux,initrd-end", initrd.End.Value);
                tree.Property("rng-seed", RandomNumberGenerator.GetBytes(64));
            }

            using (tree.Node($"memory@{ram.Start.Value:x}"))
            {
                tree.Text("device_type", "memory");
                tree.Numbers("reg", ram.Start.Value, ram.Length);
            }

            using (tree.Node("cpus"))
            {
                tree.Cells("#address-cells", 1);
                tree.Cells("#size-cells", 0);
                for (uint cpu = 0; cpu < cpus; cpu++)
                {
                    using (tree.Node($"cpu@{cpu:x}"))
                    {
                        tree.Text("device_type", "cpu");
                        tree.Text("compatible", "arm,cortex-a72");
                        tree.Cells("reg", cpu);
                        tree.Text("enable-method", "psci");
                    }
                }
            }

            using (tree.Node("psci"))
            {
                tree.Text("compatible", "arm,psci-1.0", "arm,psci-0.2");
                tree.Text("method", "smc");
            }

            using (tree.Node("timer"))
            {
                tree.Text("compatible", "arm,armv8-timer");
                tree.Cells("interrupts", PrivateInterrupt, 13, LevelHigh, PrivateInterrupt, 14, LevelHigh,
                    PrivateInterrupt, 11, LevelHigh, PrivateInterrupt, 10, LevelHigh);
                tree.Flag("always-on");
            }

            using (tree.Node("intc@8000000"))
            {
                tree.Text("compatible", "arm,gic-v3");
                tree.Cells("#interrupt-cells", 3);
                tree.Flag("interrupt-controller");
                tree.Numbers("reg", 0x0800_0000, 0x1_0000, 0x080a_0000, 0x00f6_0000);
                tree.Cells("phandle", GicHandle);
            }

            using (tree.Node("uart@9000000"))
            {
                tree.Text("compatible", "arm,sbsa-uart", "arm,pl011"); // for Linux and for U-Boot
                tree.Numbers("reg", 0x0900_0000, 0x1000);
                tree.Cells("interrupts", SharedInterrupt, 1, LevelHigh);
                tree.Cells("current-speed", 115200);
            }

            tree.WriteOpTee(optee);
        }

        return tree.ToArray();
    }
}
