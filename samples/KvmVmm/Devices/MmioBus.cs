using Microsoft.Extensions.Logging;
using OpTeeMediator.Kvm;

namespace KvmVmm.Devices;

/// <summary>Finds the device at an address.</summary>
/// <remarks>Thread-safe.</remarks>
internal sealed class MmioBus(ILogger log, params IMmioDevice[] devices)
{
    /// <summary>Answers an access of the guest. Where no device is, reads give 0 and writes go nowhere.</summary>
    /// <param name="access">The access.</param>
    public void Handle(KvmMmioExit access)
    {
        foreach (IMmioDevice device in devices)
        {
            if (device.Range.Contains(access.Address, (ulong)access.Data.Length))
            {
                Reach(device, access);
                return;
            }
        }

        log.NoDevice(access.Address, access.IsWrite);
        access.Data.Clear();
    }

    private static void Reach(IMmioDevice device, KvmMmioExit access)
    {
        ulong offset = access.Address - device.Range.Start.Value;
        if (access.IsWrite)
        {
            device.Write(offset, access.ReadValue());
        }
        else
        {
            access.WriteValue(device.Read(offset));
        }
    }
}
