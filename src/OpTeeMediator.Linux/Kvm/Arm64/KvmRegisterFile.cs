using System.Globalization;
using OpTeeMediator.Linux.Interop;

namespace OpTeeMediator.Linux.Kvm.Arm64;

/// <summary>The registers of a vCPU of KVM: each access is a system call.</summary>
internal readonly unsafe struct KvmRegisterFile(int vcpuFd) : IRegisterFile
{
    public ulong Read(int index)
    {
        ulong value;
        KvmOneRegister argument = new() { Id = Arm64Register.IdOfX(index), Address = &value };
        return LibC.Ioctl(vcpuFd, KvmIoctl.KVM_GET_ONE_REG, &argument) == 0 ? value : throw Failure("KVM_GET_ONE_REG", index);
    }

    public void Write(int index, ulong value)
    {
        KvmOneRegister argument = new() { Id = Arm64Register.IdOfX(index), Address = &value };
        if (LibC.Ioctl(vcpuFd, KvmIoctl.KVM_SET_ONE_REG, &argument) != 0)
        {
            throw Failure("KVM_SET_ONE_REG", index);
        }
    }

    private static SystemCallException Failure(string operation, int index) =>
        new(string.Create(CultureInfo.InvariantCulture, $"{operation} of X{index}"), Errno.Last, "EBADF, ENOTTY: the descriptor is no vCPU's. ENOENT: the host is not arm64.");
}
