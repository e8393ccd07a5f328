using System.Security.Cryptography;
using KvmVmm.CommandLine;
using KvmVmm.Cpus;
using KvmVmm.Machine;
using OpTeeMediator.Kvm.DeviceTree;
using OpTeeMediator.Memory;

namespace KvmVmm.DeviceTree;

/// <summary>The device tree of the guest's machine.</summary>
internal static class MachineDeviceTree
{
    private const uint GicHandle = 1;

    // Kinds of interrupts of a GIC, and the trigger of all devices: active high, level-sensitive.
    private const uint SharedInterrupt = 0;
    private const uint PrivateInterrupt = 1;
    private const uint LevelHigh = 4;

    /// <summary>Writes it.</summary>
    /// <param name="ram">The guest's memory.</param>
    /// <param name="options">What the machine is like.</param>
    /// <param name="initrd">Where the initramfs lies; empty if there is none.</param>
    /// <param name="tee">The machine's TEE.</param>
    /// <returns>Its bytes.</returns>
    public static byte[] Write(GuestRange ram, VmmOptions options, GuestRange initrd, TeeWiring tee)
    {
        DeviceTreeWriter tree = new();
        using (tree.Node(""))
        {
            tree.Text("compatible", "linux,dummy-virt");
            tree.Text("model", "OpTeeMediator KvmVmm");
            tree.Cells("#address-cells", 2);
            tree.Cells("#size-cells", 2);
            tree.Cells("interrupt-parent", GicHandle);
            WriteChosen(tree, options.KernelParameters, initrd);
            using (tree.Node($"memory@{ram.Start.Value:x}"))
            {
                tree.Text("device_type", "memory");
                tree.Numbers("reg", ram.Start.Value, ram.Length);
            }

            WriteCpus(tree, options.Cpus);
            WriteTimer(tree);
            WriteGic(tree, options.Cpus);
            WriteUart(tree);
            if (options.Disk is not null)
            {
                WriteDisk(tree);
            }

            tee.DescribeIn(tree);
        }

        return tree.ToArray();
    }

    private static void WriteChosen(DeviceTreeWriter tree, string commandLine, GuestRange initrd)
    {
        const int RandomSeedSize = 64;
        using (tree.Node("chosen"))
        {
            tree.Text("bootargs", commandLine);
            tree.Text("stdout-path", $"/uart@{MemoryMap.Uart.Start.Value:x}");
            if (initrd.Length > 0)
            {
                tree.Numbers("linux,initrd-start", initrd.Start.Value);
                tree.Numbers("linux,initrd-end", initrd.End.Value);
            }

            // A small machine has little else to draw randomness from while it starts.
            tree.Property("rng-seed", RandomNumberGenerator.GetBytes(RandomSeedSize));
            tree.Property("kaslr-seed", RandomNumberGenerator.GetBytes(sizeof(ulong)));
        }
    }

    private static void WriteCpus(DeviceTreeWriter tree, int cpuCount)
    {
        using (tree.Node("cpus"))
        {
            tree.Cells("#address-cells", 1);
            tree.Cells("#size-cells", 0);
            for (int index = 0; index < cpuCount; index++)
            {
                uint affinity = VirtualCpu.AffinityOf(index);
                using (tree.Node($"cpu@{affinity:x}"))
                {
                    tree.Text("device_type", "cpu");
                    tree.Text("compatible", "arm,armv8");
                    tree.Cells("reg", affinity);
                    tree.Text("enable-method", "psci");
                }
            }
        }

        // KVM itself answers PSCI.
        using (tree.Node("psci"))
        {
            tree.Text("compatible", "arm,psci-1.0", "arm,psci-0.2");
            tree.Text("method", "hvc");
        }
    }

    private static void WriteTimer(DeviceTreeWriter tree)
    {
        using (tree.Node("timer"))
        {
            tree.Text("compatible", "arm,armv8-timer");

            // Secure, non-secure, virtual, hypervisor.
            tree.Cells(
                "interrupts",
                PrivateInterrupt, 13, LevelHigh, PrivateInterrupt, 14, LevelHigh, PrivateInterrupt, 11, LevelHigh,
                PrivateInterrupt, 10, LevelHigh);
            tree.Flag("always-on");
        }
    }

    private static void WriteGic(DeviceTreeWriter tree, int cpuCount)
    {
        using (tree.Node($"intc@{MemoryMap.GicDistributor.Start.Value:x}"))
        {
            GuestRange redistributors = MemoryMap.GicRedistributors(cpuCount);
            tree.Text("compatible", "arm,gic-v3");
            tree.Cells("#interrupt-cells", 3);
            tree.Flag("interrupt-controller");
            tree.Numbers(
                "reg",
                MemoryMap.GicDistributor.Start.Value,
                MemoryMap.GicDistributor.Length,
                redistributors.Start.Value,
                redistributors.Length);
            tree.Cells("phandle", GicHandle);
        }
    }

    private static void WriteUart(DeviceTreeWriter tree)
    {
        using (tree.Node($"uart@{MemoryMap.Uart.Start.Value:x}"))
        {
            tree.Text("compatible", "arm,sbsa-uart");
            tree.Numbers("reg", MemoryMap.Uart.Start.Value, MemoryMap.Uart.Length);
            tree.Cells(
                "interrupts", SharedInterrupt, MemoryMap.UartInterrupt - MemoryMap.FirstSharedInterrupt, LevelHigh);
            tree.Cells("current-speed", 115200);
        }
    }

    private static void WriteDisk(DeviceTreeWriter tree)
    {
        using (tree.Node($"virtio_mmio@{MemoryMap.Disk.Start.Value:x}"))
        {
            tree.Text("compatible", "virtio,mmio");
            tree.Numbers("reg", MemoryMap.Disk.Start.Value, MemoryMap.Disk.Length);
            tree.Cells(
                "interrupts", SharedInterrupt, MemoryMap.DiskInterrupt - MemoryMap.FirstSharedInterrupt, LevelHigh);
            tree.Flag("dma-coherent");
        }
    }
}
