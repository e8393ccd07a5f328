using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Linux;

/// <summary>Descriptors of the library and the child processes of its VMM.</summary>
[TestFixture]
internal sealed partial class DescriptorTests
{
    [Test]
    public async Task Own_DescriptorWithoutCloseOnExec_IsNotInheritedByAChild()
    {
        // Stands for the answer of TEE_IOC_SHM_REGISTER on newer kernels.
        using SafeFileHandle file = Descriptor.Own(CreateEventFile(0, 0));

        using Process child = Process.Start(new ProcessStartInfo("/bin/sh",
            ["-c", $"readlink /proc/self/fd/{Number(file)}"]) { RedirectStandardOutput = true })!;
        string seen = await child.StandardOutput.ReadToEndAsync();
        await child.WaitForExitAsync();

        Assert.That(seen, Is.Empty);
    }

    [Test]
    public void MemfdGuestMemory_File_IsClosedOnExec()
    {
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(new GuestRange(0x4000_0000, 1 << 20));
        Assert.That(memory.TryGetFile(new GuestRange(0x4000_0000, 1), out SafeHandle file, out _), Is.True);

        Assert.That(IsClosedOnExec(file), Is.True);
    }

    [Test]
    public void Kvm_SystemVmAndVcpu_AreClosedOnExec()
    {
        using KvmSystem kvm = KvmHost.OpenX86();
        using KvmVm vm = kvm.CreateVm();
        using KvmVcpu vcpu = vm.CreateVcpu(0);

        Assert.That(((SafeHandle[])[kvm.Handle, vm.Handle, vcpu.Handle]).Select(IsClosedOnExec), Is.All.True);
    }

    private static bool IsClosedOnExec(SafeHandle file)
    {
        // In octal: "flags:	02000002".
        string flags = File.ReadLines($"/proc/self/fdinfo/{Number(file)}")
            .First(line => line.StartsWith("flags:", StringComparison.Ordinal));
        return (Convert.ToInt64(flags["flags:".Length..].Trim(), 8) & LibC.O_CLOEXEC) != 0;
    }

    private static string Number(SafeHandle file) => file.DangerousGetHandle().ToString(CultureInfo.InvariantCulture);

    [LibraryImport("libc", EntryPoint = "eventfd", SetLastError = true)]
    private static partial int CreateEventFile(uint initial, int flags);
}
