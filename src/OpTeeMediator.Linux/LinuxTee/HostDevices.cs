using OpTeeMediator.Backends;
using OpTeeMediator.Linux.Diagnostics;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>The devices that the host's OP-TEE announces to kernels.</summary>
/// <remarks>Source: OP-TEE's <c>pta_device.h</c>. Asked as the host's kernel does: a size query with a NULL reference,
/// then a buffer of that size, which comes back full of UUIDs of 16 octets.</remarks>
internal static unsafe class HostDevices
{
    private static readonly Guid EnumerationApplication = new("7011a688-ddde-4053-a5a9-7b3c4ddf13b8");

    /// <summary>Asks the TEE for the devices that a VM may reach; none if the TEE has no enumeration.</summary>
    internal static IReadOnlyList<TeeDevice>? Query(HostTee tee, TeeAccess access)
    {
        TeeOpenSessionArgument argument = default;
        argument.Application = TeeUuid.From(EnumerationApplication);
        argument.ClientLogin = TeeLogin.Public;
        int error = tee.Device.OpenSession(ref argument);
        if (error != 0 || argument.ReturnCode != 0)
        {
            tee.Logger.NoDeviceEnumeration(tee.VirtualMachine, new ErrorName(error), argument.ReturnCode);
            return null;
        }

        List<TeeDevice> devices = [];
        Append(devices, tee, argument.Session, TeeDeviceDependency.None, access);
        Append(devices, tee, argument.Session, TeeDeviceDependency.Supplicant, access);
        _ = tee.Device.CloseSession(argument.Session);
        return devices;
    }

    private static void Append(
        List<TeeDevice> devices, HostTee tee, uint session, TeeDeviceDependency dependency, TeeAccess access)
    {
        TeeReturnCode code = Ask(tee.Device, session, dependency, TeeIoctl.NullReference, 0, out ulong size);

        // An empty list is a success of size 0.
        if (code == TeeReturnCode.ShortBuffer && size != 0)
        {
            code = HostBuffer.TryCreateCopied(tee, size, out HostBuffer? buffer);
            if (buffer is not null)
            {
                using HostBuffer shared = buffer;
                code = Ask(tee.Device, session, dependency, shared.Id, size, out ulong filled);
                int length = code == TeeReturnCode.Success ? (int)ulong.Min(filled, size) : 0;
                Collect(devices, new(shared.Pointer, length), dependency, access);
            }
        }

        if (code != TeeReturnCode.Success)
        {
            tee.Logger.DeviceEnumerationFailed(tee.VirtualMachine, dependency, code);
        }
    }

    private static void Collect(
        List<TeeDevice> devices, ReadOnlySpan<byte> uuids, TeeDeviceDependency dependency, TeeAccess access)
    {
        for (; uuids.Length >= TeeUuid.Size; uuids = uuids[TeeUuid.Size..])
        {
            Guid uuid = new(uuids[..TeeUuid.Size], bigEndian: true);
            if (access.Allows(uuid))
            {
                devices.Add(new TeeDevice(uuid, dependency));
            }
        }
    }

    private static TeeReturnCode Ask(
        ITeeDevice device, uint session, TeeDeviceDependency dependency, ulong memoryId, ulong size, out ulong filled)
    {
        TeeInvokeArgument argument = default;
        argument.Function = (uint)dependency;
        argument.Session = session;
        argument.Parameters[0].Attributes = (ulong)TeeParameterKind.MemoryOutput;
        argument.Parameters[0].B = size;
        argument.Parameters[0].C = memoryId;
        int error = device.Invoke(ref argument);
        filled = argument.Parameters[0].B;
        return error == 0 ? (TeeReturnCode)argument.ReturnCode : HostResult.Of(error, out _).Code;
    }
}
