using System.Runtime.InteropServices;
using OpTeeMediator.Linux.LinuxTee;

namespace OpTeeMediator.Tests.Linux;

/// <summary>A device one of whose calls throws. Closing it does not.</summary>
internal sealed class FailingTeeDevice(ITeeDevice device, FailurePoint point) : ITeeDevice
{
    public void Dispose() => device.Dispose();

    public int GetVersion(out TeeVersionData version)
    {
        point.Pass();
        return device.GetVersion(out version);
    }

    public string? ReadRevision()
    {
        point.Pass();
        return device.ReadRevision();
    }

    public int OpenSession(ref TeeOpenSessionArgument argument)
    {
        point.Pass();
        return device.OpenSession(ref argument);
    }

    public int Invoke(ref TeeInvokeArgument argument)
    {
        point.Pass();
        return device.Invoke(ref argument);
    }

    public int Cancel(uint session, uint cancelId)
    {
        point.Pass();
        return device.Cancel(session, cancelId);
    }

    public int CloseSession(uint session)
    {
        point.Pass();
        return device.CloseSession(session);
    }

    public int RegisterMemory(nint address, nuint length, out SafeHandle? registration, out int id)
    {
        point.Pass();
        return device.RegisterMemory(address, length, out registration, out id);
    }
}
