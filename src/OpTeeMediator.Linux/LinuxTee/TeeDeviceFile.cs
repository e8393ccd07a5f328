using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Backends;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>An open <c>/dev/tee0</c>.</summary>
internal sealed unsafe class TeeDeviceFile : ITeeDevice
{
    private readonly SafeFileHandle _file;

    private TeeDeviceFile(SafeFileHandle file) => _file = file;

    public void Dispose() => _file.Dispose();

    public int GetVersion(out TeeVersionData version)
    {
        fixed (TeeVersionData* address = &version)
        {
            return Control(TeeIoctl.TEE_IOC_VERSION, address);
        }
    }

    public string? ReadRevision()
    {
        // By number: the device's path may be a symbolic link, or another name in a container.
        FileStatus status = default;
        if (LibC.GetFileStatus(_file, "", LibC.AT_EMPTY_PATH, 0, &status) != 0)
        {
            return null;
        }

        try
        {
            return File.ReadAllText($"/sys/dev/char/{status.DeviceMajor}:{status.DeviceMinor}/revision");
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    public int OpenSession(ref TeeOpenSessionArgument argument)
    {
        argument.ParameterCount = TeeRequest.ParameterCount;
        return ControlBuffer(TeeIoctl.TEE_IOC_OPEN_SESSION, ref argument);
    }

    public int Invoke(ref TeeInvokeArgument argument)
    {
        argument.ParameterCount = TeeRequest.ParameterCount;
        return ControlBuffer(TeeIoctl.TEE_IOC_INVOKE, ref argument);
    }

    public int Cancel(uint session, uint cancelId)
    {
        TeeCancelArgument argument = new() { Session = session, CancelId = cancelId };
        return Control(TeeIoctl.TEE_IOC_CANCEL, &argument);
    }

    public int CloseSession(uint session) => Control(TeeIoctl.TEE_IOC_CLOSE_SESSION, &session);

    public int RegisterMemory(nint address, nuint length, out SafeHandle? registration, out int id)
    {
        TeeRegisterData data = new() { Address = (ulong)address, Length = length };
        int descriptor = LibC.Ioctl(_file, TeeIoctl.TEE_IOC_SHM_REGISTER, &data);
        if (descriptor < 0)
        {
            registration = null;
            id = -1;
            return Errno.Last;
        }

        registration = Descriptor.Own(descriptor);
        id = data.Id;
        return 0;
    }

    /// <summary>Opens the device.</summary>
    /// <exception cref="TeeUnavailableException">It is not there, or may not be used.</exception>
    internal static TeeDeviceFile Open(string path)
    {
        int descriptor = LibC.Open(path, LibC.O_RDWR | LibC.O_CLOEXEC, 0);
        return descriptor >= 0
            ? new TeeDeviceFile(Descriptor.Own(descriptor))
            : throw TeeSupport.OpenFailure(path, Errno.Last);
    }

    // The kernel reads and writes the argument during the call only.
    private int Control(uint request, void* argument) => LibC.Ioctl(_file, request, argument) < 0 ? Errno.Last : 0;

    private int ControlBuffer<T>(uint request, ref T argument) where T : unmanaged
    {
        fixed (T* address = &argument)
        {
            TeeBufferData buffer = new() { Pointer = (ulong)address, Length = (ulong)Unsafe.SizeOf<T>() };
            return Control(request, &buffer);
        }
    }
}
