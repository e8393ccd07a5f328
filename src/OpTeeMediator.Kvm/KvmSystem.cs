using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Kvm;

/// <summary>The host's KVM: <c>/dev/kvm</c>.</summary>
/// <remarks>Thread-safe. VMs outlive its disposal.</remarks>
[Experimental("OPTEE001")]
public sealed class KvmSystem : IDisposable
{
    /// <summary>Where KVM usually is.</summary>
    public const string DefaultDevicePath = "/dev/kvm";

    private readonly SafeFileHandle _file;

    private KvmSystem(SafeFileHandle file, int vcpuMappingSize)
    {
        _file = file;
        VcpuMappingSize = vcpuMappingSize;
    }

    /// <summary>The open device, for ioctls that this class does not know; it stays owned by this object.</summary>
    public SafeHandle Handle => _file;

    /// <summary>The size of the shared kvm_run mapping of a vCPU in bytes (KVM_GET_VCPU_MMAP_SIZE).</summary>
    internal int VcpuMappingSize { get; }

    /// <summary>Opens <c>/dev/kvm</c>.</summary>
    /// <exception cref="SystemCallException">There is no KVM, it may not be used, or its version is not the one
    /// expected; the message says what to do.</exception>
    public static KvmSystem Open() => Open(DefaultDevicePath);

    /// <summary>Opens KVM at a path of its own.</summary>
    /// <param name="devicePath">The path of the device.</param>
    /// <exception cref="ArgumentNullException"><paramref name="devicePath"/> is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException"><paramref name="devicePath"/> is empty or has a character NUL.</exception>
    /// <exception cref="SystemCallException">There is no KVM, it may not be used, or its version is not the one
    /// expected; the message says what to do.</exception>
    public static KvmSystem Open(string devicePath)
    {
        DevicePath.Check(devicePath, nameof(devicePath));
        int descriptor = LibC.Open(devicePath, LibC.O_RDWR | LibC.O_CLOEXEC, 0);
        if (descriptor < 0)
        {
            int error = Errno.Last;
            throw new SystemCallException($"Opening {devicePath}", error, AdviceFor(error));
        }

        SafeFileHandle file = Descriptor.Own(descriptor);
        try
        {
            int version = LibC.Ioctl(file, KvmIoctl.KVM_GET_API_VERSION, 0);
            if (version != KvmIoctl.ApiVersion)
            {
                string found = version < 0
                    ? $"{devicePath} does not answer KVM_GET_API_VERSION ({Errno.NameOf(Errno.Last)}): it is not KVM."
                    : $"{devicePath} has KVM API version {version}; expected {KvmIoctl.ApiVersion}, which every"
                        + $" kernel since 2.6.22 has.";
                throw new SystemCallException(found);
            }

            int size = LibC.Ioctl(file, KvmIoctl.KVM_GET_VCPU_MMAP_SIZE, 0);
            return size < KvmRunLayout.SharedRegisters + KvmRunLayout.SharedRegistersSize
                ? throw new SystemCallException(
                    $"KVM_GET_VCPU_MMAP_SIZE answers {size}; expected at least the size of struct kvm_run,"
                        + $" {KvmRunLayout.SharedRegisters + KvmRunLayout.SharedRegistersSize}.")
                : new KvmSystem(file, size);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Asks what KVM can do.</summary>
    /// <param name="capability">The capability.</param>
    /// <returns>0 if KVM does not have it; otherwise 1 or a number that the capability defines.</returns>
    /// <exception cref="SystemCallException">KVM does not answer.</exception>
    public int CheckCapability(KvmCapability capability) => CheckCapability(_file, capability);

    /// <summary>Creates a VM of the default machine type, with 40 bits of guest address at most.</summary>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public KvmVm CreateVm() => CreateVmFor(0);

    /// <summary>Creates a VM whose guest addresses are large enough.</summary>
    /// <param name="highestAddress">The last byte of the VM's memory and devices; for arm64 only.</param>
    /// <returns>The VM, of the default machine type but for the size of its guest addresses.</returns>
    /// <exception cref="NotSupportedException">The address lies beyond the guest addresses of this host; the message
    /// has it and the host's size.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public KvmVm CreateVmFor(ulong highestAddress) => CreateVm(
        RuntimeInformation.ProcessArchitecture == Architecture.Arm64
            ? GuestAddressSize.ChooseMachineType(CheckCapability(KvmCapability.ArmGuestAddressBits), highestAddress)
            : 0UL);

    /// <summary>Creates a VM.</summary>
    /// <param name="machineType">The machine type of KVM_CREATE_VM: 0 is the default. On arm64 bits 7:0 give the size
    /// of guest addresses in bits, 0 for 40.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public KvmVm CreateVm(ulong machineType)
    {
        int descriptor;
        do
        {
            descriptor = LibC.Ioctl(_file, KvmIoctl.KVM_CREATE_VM, (nuint)machineType);
        }
        while (descriptor < 0 && Errno.Last == Errno.EINTR);

        return descriptor >= 0
            ? new KvmVm(this, Descriptor.Own(descriptor))
            : throw new SystemCallException(
                $"KVM_CREATE_VM with machine type {machineType}", Errno.Last,
                "EINVAL: the machine type is not one of this host's. ENOMEM, EMFILE: the host or the process has"
                    + " reached a limit.");
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    internal static int CheckCapability(SafeHandle file, KvmCapability capability)
    {
        int answer = LibC.Ioctl(file, KvmIoctl.KVM_CHECK_EXTENSION, (nuint)(uint)capability);
        return answer >= 0
            ? answer
            : throw new SystemCallException($"KVM_CHECK_EXTENSION {capability}", Errno.Last, "");
    }

    private static string AdviceFor(int error) => error switch
    {
        Errno.ENOENT or Errno.ENODEV or Errno.ENXIO =>
            "This host offers no KVM: switch virtualization on in its firmware (or nested virtualization in the"
                + " hypervisor above it) and load the kernel's module (kvm_intel, kvm_amd; built in on arm64, where"
                + " the kernel must have been started at EL2).",
        Errno.EACCES or Errno.EPERM =>
            "This process may not use KVM: add its user to the group that owns the device (usually kvm), or pass the"
                + " device into its container.",
        _ => "",
    };
}
