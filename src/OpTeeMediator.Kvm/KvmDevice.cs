using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Kvm;

/// <summary>A device that KVM emulates in the kernel, with its attributes.</summary>
/// <remarks>Thread-safe.</remarks>
[Experimental("OPTEE001")]
public sealed class KvmDevice : IDisposable
{
    private readonly SafeFileHandle _file;
    private readonly string _name;

    internal KvmDevice(string name, SafeFileHandle file)
    {
        _name = name;
        _file = file;
    }

    /// <summary>The device's file, for ioctls that this class does not know; it stays owned by this object.</summary>
    public SafeHandle Handle => _file;

    /// <summary>Whether the device has an attribute (KVM_HAS_DEVICE_ATTR).</summary>
    /// <param name="group">The attribute's group.</param>
    /// <param name="attribute">The attribute.</param>
    public bool HasAttribute(uint group, ulong attribute) => HasAttribute(_file, group, attribute);

    /// <summary>Sets an attribute (KVM_SET_DEVICE_ATTR).</summary>
    /// <typeparam name="T">The type of its value.</typeparam>
    /// <param name="group">The attribute's group.</param>
    /// <param name="attribute">The attribute.</param>
    /// <param name="value">The value.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public void SetAttribute<T>(uint group, ulong attribute, in T value)
        where T : unmanaged => SetAttribute(_file, _name, group, attribute, in value);

    /// <summary>Sets an attribute that has no value (KVM_SET_DEVICE_ATTR): it acts.</summary>
    /// <param name="group">The attribute's group.</param>
    /// <param name="attribute">The attribute.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public unsafe void SetAttribute(uint group, ulong attribute) =>
        Access(_file, _name, KvmIoctl.KVM_SET_DEVICE_ATTR, group, attribute, null);

    /// <summary>Reads an attribute (KVM_GET_DEVICE_ATTR).</summary>
    /// <typeparam name="T">The type of its value.</typeparam>
    /// <param name="group">The attribute's group.</param>
    /// <param name="attribute">The attribute.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public unsafe T GetAttribute<T>(uint group, ulong attribute) where T : unmanaged
    {
        T value = default;
        Access(_file, _name, KvmIoctl.KVM_GET_DEVICE_ATTR, group, attribute, &value);
        return value;
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    internal static unsafe bool HasAttribute(SafeHandle file, uint group, ulong attribute)
    {
        KvmDeviceAttribute argument = new() { Group = group, Attribute = attribute };
        return LibC.Ioctl(file, KvmIoctl.KVM_HAS_DEVICE_ATTR, &argument) == 0;
    }

    internal static unsafe void SetAttribute<T>(SafeHandle file, string name, uint group, ulong attribute, in T value)
        where T : unmanaged
    {
        // The kernel reads the value during the call only.
        fixed (T* address = &value)
        {
            Access(file, name, KvmIoctl.KVM_SET_DEVICE_ATTR, group, attribute, address);
        }
    }

    private static unsafe void Access(
        SafeHandle file, string name, uint request, uint group, ulong attribute, void* address)
    {
        KvmDeviceAttribute argument = new() { Group = group, Attribute = attribute, Address = address };
        if (LibC.Ioctl(file, request, &argument) < 0)
        {
            throw new SystemCallException(
                $"{(request == KvmIoctl.KVM_SET_DEVICE_ATTR ? "KVM_SET_DEVICE_ATTR" : "KVM_GET_DEVICE_ATTR")} of"
                    + $" {name}, group {group}, attribute 0x{attribute:x}",
                Errno.Last,
                "ENXIO: there is no such attribute. EBUSY: it cannot be used now (already set, or a vCPU has run or"
                    + " is running). EINVAL: the value is wrong.");
        }
    }
}
