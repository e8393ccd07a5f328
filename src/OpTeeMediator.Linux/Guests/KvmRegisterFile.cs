using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Linux.Guests;

/// <summary>The registers of a vCPU of KVM: each access is a system call.</summary>
internal readonly unsafe struct KvmRegisterFile(int vcpuFd) : IRegisterFile
{
    public ulong Read(int index)
    {
        ulong value;
        KvmOneRegister argument = new() { Id = Arm64Register.IdOfX(index), Address = &value };
        return LibC.Ioctl(vcpuFd, KvmIoctl.KVM_GET_ONE_REG, &argument) == 0
            ? value
            : throw Failure("KVM_GET_ONE_REG", $"X{index}");
    }

    public void Write(int index, ulong value)
    {
        KvmOneRegister argument = new() { Id = Arm64Register.IdOfX(index), Address = &value };
        if (LibC.Ioctl(vcpuFd, KvmIoctl.KVM_SET_ONE_REG, &argument) != 0)
        {
            throw Failure("KVM_SET_ONE_REG", $"X{index}");
        }
    }

    public void MoveBack(int length)
    {
        ulong value;
        KvmOneRegister argument = new() { Id = Arm64Register.Pc.Id, Address = &value };
        if (LibC.Ioctl(vcpuFd, KvmIoctl.KVM_GET_ONE_REG, &argument) != 0)
        {
            throw Failure("KVM_GET_ONE_REG", "PC");
        }

        value -= (ulong)length;
        if (LibC.Ioctl(vcpuFd, KvmIoctl.KVM_SET_ONE_REG, &argument) != 0)
        {
            throw Failure("KVM_SET_ONE_REG", "PC");
        }
    }

    private static SystemCallException Failure(string operation, string register) =>
        new(
            $"{operation} of {register}", Errno.Last,
            "EBADF, ENOTTY: the descriptor is no vCPU's. ENOENT: the host is not arm64.");
}
