using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Kvm;

/// <summary>A vCPU of KVM.</summary>
/// <remarks>
/// <para>Belongs to one thread, as in KVM itself; only <see cref="Kick"/> and <see cref="Dispose"/> may be called by
/// others. Disposing of a running vCPU does not stop it: kick it and join its thread first.</para>
/// <para>What the exits' properties return borrows from the page shared with the kernel.</para>
/// </remarks>
[Experimental("OPTEE001")]
public sealed unsafe class KvmVcpu : IDisposable
{
    private readonly SafeFileHandle _file;
    private readonly SafeMemoryMapping _mapping;
    private readonly byte* _run;
    private readonly VcpuKick _kick;
    private KvmExitReason _exit = KvmExitReason.Interrupted;

    internal KvmVcpu(KvmVm vm, int id, SafeFileHandle file, SafeMemoryMapping mapping)
    {
        Vm = vm;
        Id = id;
        _file = file;
        _mapping = mapping;
        _run = (byte*)mapping.Address;
        _kick = new VcpuKick(_run + KvmRunLayout.ImmediateExit);
    }

    /// <summary>The VM it belongs to.</summary>
    public KvmVm Vm { get; }

    /// <summary>The vCPU's number.</summary>
    public int Id { get; }

    /// <summary>The vCPU's file, for ioctls that this class does not know; it stays owned by this object.</summary>
    public SafeHandle Handle => _file;

    /// <summary>The address of the shared <c>struct kvm_run</c>; valid until the vCPU is disposed of.</summary>
    /// <exception cref="ObjectDisposedException">The vCPU is disposed of.</exception>
    public nint RunAddress => (nint)Page;

    /// <summary>Why the vCPU came back last.</summary>
    public KvmExitReason ExitReason => _exit;

    /// <summary>The port access of <see cref="KvmExitReason.Io"/>.</summary>
    /// <exception cref="InvalidOperationException">The last exit was another one.</exception>
    /// <exception cref="ObjectDisposedException">The vCPU is disposed of.</exception>
    public KvmIoExit Io
    {
        get
        {
            byte* page = PayloadOf(KvmExitReason.Io);
            int size = page[KvmRunLayout.IoSize];
            uint count = ReadAt<uint>(page, KvmRunLayout.IoCount);
            ulong offset = ReadAt<ulong>(page, KvmRunLayout.IoDataOffset);

            // The kernel's word is taken for nothing that could leave the mapping.
            ulong length = (ulong)size * count;
            if (offset > _mapping.Length || length > _mapping.Length - offset)
            {
                throw new InvalidOperationException(
                    $"kvm_run names {length} bytes of data at {offset}, beyond its {_mapping.Length} bytes.");
            }

            return new KvmIoExit(
                ReadAt<ushort>(page, KvmRunLayout.IoPort), page[KvmRunLayout.IoDirection] != 0, size,
                new Span<byte>(page + offset, (int)length));
        }
    }

    /// <summary>The access of <see cref="KvmExitReason.Mmio"/>.</summary>
    /// <inheritdoc cref="Io" path="/exception"/>
    public KvmMmioExit Mmio
    {
        get
        {
            byte* page = PayloadOf(KvmExitReason.Mmio);
            int length = (int)uint.Min(ReadAt<uint>(page, KvmRunLayout.MmioLength), sizeof(ulong));
            return new KvmMmioExit(
                ReadAt<ulong>(page, KvmRunLayout.MmioAddress), page[KvmRunLayout.MmioIsWrite] != 0,
                new Span<byte>(page + KvmRunLayout.MmioData, length));
        }
    }

    /// <summary>The call of <see cref="KvmExitReason.Hypercall"/>.</summary>
    /// <inheritdoc cref="Io" path="/exception"/>
    public KvmHypercallExit Hypercall
    {
        get
        {
            byte* page = PayloadOf(KvmExitReason.Hypercall);
            return new KvmHypercallExit(
                ReadAt<ulong>(page, KvmRunLayout.HypercallNumber), ReadAt<ulong>(page, KvmRunLayout.HypercallFlags));
        }
    }

    /// <summary>The event of <see cref="KvmExitReason.SystemEvent"/>. On arm64 all vCPUs are stopped then: the next run
    /// sleeps until they are initialised again.</summary>
    /// <inheritdoc cref="Io" path="/exception"/>
    public KvmSystemEventExit SystemEvent
    {
        get
        {
            byte* page = PayloadOf(KvmExitReason.SystemEvent);
            return new KvmSystemEventExit(
                (KvmSystemEventType)ReadAt<uint>(page, KvmRunLayout.SystemEventType),
                DataAt(page, KvmRunLayout.SystemEventDataCount, KvmRunLayout.SystemEventData));
        }
    }

    /// <summary>The refusal of <see cref="KvmExitReason.FailEntry"/>.</summary>
    /// <inheritdoc cref="Io" path="/exception"/>
    public KvmFailEntryExit FailEntry
    {
        get
        {
            byte* page = PayloadOf(KvmExitReason.FailEntry);
            return new KvmFailEntryExit(
                ReadAt<ulong>(page, KvmRunLayout.FailEntryReason), ReadAt<uint>(page, KvmRunLayout.FailEntryCpu));
        }
    }

    /// <summary>The error of <see cref="KvmExitReason.InternalError"/>.</summary>
    /// <inheritdoc cref="Io" path="/exception"/>
    public KvmInternalErrorExit InternalError
    {
        get
        {
            byte* page = PayloadOf(KvmExitReason.InternalError);
            return new KvmInternalErrorExit(
                ReadAt<uint>(page, KvmRunLayout.InternalSuberror),
                DataAt(page, KvmRunLayout.InternalDataCount, KvmRunLayout.InternalData));
        }
    }

    /// <summary>The access of <see cref="KvmExitReason.ArmNoSyndrome"/>.</summary>
    /// <inheritdoc cref="Io" path="/exception"/>
    public KvmNoSyndromeExit NoSyndrome
    {
        get
        {
            byte* page = PayloadOf(KvmExitReason.ArmNoSyndrome);
            return new KvmNoSyndromeExit(
                ReadAt<ulong>(page, KvmRunLayout.NoSyndromeEsr), ReadAt<ulong>(page, KvmRunLayout.NoSyndromeAddress));
        }
    }

    /// <summary>The hardware's number of a <see cref="KvmExitReason.Unknown"/> exit.</summary>
    /// <inheritdoc cref="Io" path="/exception"/>
    public ulong UnknownHardwareReason =>
        ReadAt<ulong>(PayloadOf(KvmExitReason.Unknown), KvmRunLayout.UnknownHardwareReason);

    /// <summary>The shared page, for the architecture's part of it.</summary>
    internal byte* Page
    {
        get
        {
            ObjectDisposedException.ThrowIf(_mapping.IsClosed, this);
            return _run;
        }
    }

    /// <summary>Runs the guest until it needs its VMM (KVM_RUN).</summary>
    /// <returns>Why it came back. <see cref="KvmExitReason.Interrupted"/> after <see cref="Kick"/> or a signal, or when
    /// a vCPU that waits to be started was disturbed: run again if there is nothing else to do.</returns>
    /// <exception cref="SystemCallException">KVM refuses: the vCPU is not initialised, say.</exception>
    /// <exception cref="ObjectDisposedException">The vCPU is disposed of.</exception>
    public KvmExitReason Run()
    {
        // Keeps the page mapped if another thread disposes of the vCPU meanwhile.
        using HandleScope mapped = new(_mapping);

        _kick.BeginRun(ThreadId.Current);
        int answer = LibC.Ioctl(_file, KvmIoctl.KVM_RUN, 0);
        int error = answer < 0 ? Errno.Last : 0;
        _kick.EndRun();
        _exit = error == 0 ? (KvmExitReason)ReadAt<uint>(_run, KvmRunLayout.ExitReason) : ExitFor(error);
        return _exit;
    }

    /// <summary>Ends the instruction of an <see cref="KvmExitReason.Io"/> or <see cref="KvmExitReason.Mmio"/> exit
    /// without running on.</summary>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    /// <exception cref="ObjectDisposedException">The vCPU is disposed of.</exception>
    /// <remarks>Needed before registers are read or written after such an exit; a run does it itself.</remarks>
    public void CompleteExit()
    {
        ObjectDisposedException.ThrowIf(_mapping.IsClosed, this);
        _kick.BeginCompletion();
        int answer = LibC.Ioctl(_file, KvmIoctl.KVM_RUN, 0);
        int error = answer < 0 ? Errno.Last : 0;
        _kick.EndCompletion();
        _exit = KvmExitReason.Interrupted;
        if (error is not (0 or Errno.EINTR))
        {
            throw new SystemCallException($"KVM_RUN of vCPU {Id} with immediate_exit", error, "");
        }
    }

    /// <summary>Makes <see cref="Run"/> return <see cref="KvmExitReason.Interrupted"/>: the one that is running, or
    /// else the next. Any thread may call.</summary>
    /// <exception cref="ObjectDisposedException">The vCPU is disposed of.</exception>
    /// <exception cref="SystemCallException">No real-time signal is free (see <see cref="KickSignal"/>).</exception>
    public void Kick()
    {
        int signal = KickSignal.Number;
        using HandleScope mapped = new(_mapping);
        int thread = _kick.Request();
        if (thread != 0)
        {
            // The thread may have come back, or be gone: the signal does nothing there, nor leaves this process.
            _ = LibC.SignalThread(Environment.ProcessId, thread, signal);
        }
    }

    /// <summary>Reads a register (KVM_GET_ONE_REG).</summary>
    /// <typeparam name="T"><see cref="uint"/>, <see cref="ulong"/>, <see cref="UInt128"/>: as large as it.</typeparam>
    /// <param name="id">KVM's number of the register, bits 55:52 of which are the logarithm of its size.</param>
    /// <exception cref="ArgumentException">The register has another size.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public T GetRegister<T>(ulong id) where T : unmanaged
    {
        T value = default;
        Access(KvmIoctl.KVM_GET_ONE_REG, "KVM_GET_ONE_REG", id, ref value);
        return value;
    }

    /// <inheritdoc cref="GetRegister{T}" path="/*[not(self::summary or self::param)]"/>
    /// <summary>Writes a register (KVM_SET_ONE_REG).</summary>
    /// <param name="id">KVM's number of the register, bits 55:52 of which are the logarithm of its size.</param>
    /// <param name="value">Its value.</param>
    public void SetRegister<T>(ulong id, T value)
        where T : unmanaged => Access(KvmIoctl.KVM_SET_ONE_REG, "KVM_SET_ONE_REG", id, ref value);

    /// <inheritdoc cref="GetRegister{T}" path="/*[not(self::summary or self::param)]"/>
    /// <summary>Reads a register of any size (KVM_GET_ONE_REG).</summary>
    /// <param name="id">KVM's number of the register, bits 55:52 of which are the logarithm of its size.</param>
    /// <param name="value">Receives the value; as large as the register.</param>
    public void GetRegister(ulong id, Span<byte> value)
    {
        fixed (byte* address = value)
        {
            Access(KvmIoctl.KVM_GET_ONE_REG, "KVM_GET_ONE_REG", id, address, value.Length);
        }
    }

    /// <inheritdoc cref="GetRegister(ulong, Span{byte})" path="/*[not(self::summary or self::param)]"/>
    /// <summary>Writes a register of any size (KVM_SET_ONE_REG).</summary>
    /// <param name="id">KVM's number of the register, bits 55:52 of which are the logarithm of its size.</param>
    /// <param name="value">Its value; as large as the register.</param>
    public void SetRegister(ulong id, ReadOnlySpan<byte> value)
    {
        fixed (byte* address = value)
        {
            Access(KvmIoctl.KVM_SET_ONE_REG, "KVM_SET_ONE_REG", id, address, value.Length);
        }
    }

    /// <summary>Lists the registers that make up the vCPU's state (KVM_GET_REG_LIST).</summary>
    /// <returns>KVM's numbers of the registers, of several sizes.</returns>
    /// <exception cref="SystemCallException">KVM refuses: the vCPU is not initialised.</exception>
    public ulong[] ListRegisters()
    {
        // struct kvm_reg_list: the number of entries that there is room for, then of those that there are; the entries.
        ulong[] list = new ulong[1];
        while (true)
        {
            list[0] = (ulong)list.Length - 1;
            fixed (ulong* address = list)
            {
                if (LibC.Ioctl(_file, KvmIoctl.KVM_GET_REG_LIST, address) == 0)
                {
                    return list[1..(int)(list[0] + 1)];
                }
            }

            int error = Errno.Last;
            if (error != Errno.E2BIG || list[0] < (ulong)list.Length)
            {
                throw new SystemCallException(
                    $"KVM_GET_REG_LIST of vCPU {Id}", error, "ENOEXEC: the vCPU is not initialised.");
            }

            list = new ulong[list[0] + 1];
        }
    }

    /// <summary>Whether the vCPU may run (KVM_GET_MP_STATE, KVM_SET_MP_STATE).</summary>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public KvmMpState MpState
    {
        get
        {
            uint state = 0;
            Control(KvmIoctl.KVM_GET_MP_STATE, "KVM_GET_MP_STATE", ref state, "");
            return (KvmMpState)state;
        }

        set
        {
            uint state = (uint)value;
            Control(KvmIoctl.KVM_SET_MP_STATE, "KVM_SET_MP_STATE", ref state, "EINVAL: the vCPU has no such state.");
        }
    }

    /// <summary>Enables a capability for the vCPU (KVM_ENABLE_CAP).</summary>
    /// <param name="capability">The capability.</param>
    /// <param name="arguments">Its arguments, at most 4; their meaning is the capability's.</param>
    /// <exception cref="ArgumentException">There are too many arguments.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public void EnableCapability(KvmCapability capability, params ReadOnlySpan<ulong> arguments) =>
        KvmVm.Enable(_file, $"vCPU {Id}", capability, arguments);

    /// <inheritdoc cref="KvmDevice.HasAttribute(uint, ulong)" path="/*[not(self::summary)]"/>
    /// <summary>Whether the vCPU has an attribute (KVM_HAS_DEVICE_ATTR).</summary>
    public bool HasAttribute(uint group, ulong attribute) => KvmDevice.HasAttribute(_file, group, attribute);

    /// <inheritdoc cref="KvmDevice.SetAttribute{T}(uint, ulong, in T)" path="/*[not(self::summary)]"/>
    /// <summary>Sets an attribute of the vCPU (KVM_SET_DEVICE_ATTR).</summary>
    public void SetAttribute<T>(uint group, ulong attribute, in T value)
        where T : unmanaged => KvmDevice.SetAttribute(_file, "vCPU", group, attribute, in value);

    /// <inheritdoc/>
    public void Dispose()
    {
        _mapping.Dispose();
        _file.Dispose();
    }

    /// <summary>Calls an ioctl of the vCPU with a structure as argument.</summary>
    internal void Control<T>(uint request, string name, ref T argument, string advice) where T : unmanaged
    {
        fixed (T* address = &argument)
        {
            if (LibC.Ioctl(_file, request, address) < 0)
            {
                throw new SystemCallException($"{name} of vCPU {Id}", Errno.Last, advice);
            }
        }
    }

    private static T ReadAt<T>(byte* page, int offset) where T : unmanaged => Unsafe.ReadUnaligned<T>(page + offset);

    private static ReadOnlySpan<ulong> DataAt(byte* page, int countOffset, int dataOffset) =>
        new(page + dataOffset, (int)uint.Min(ReadAt<uint>(page, countOffset), KvmRunLayout.MaximumDataCount));

    private void Access<T>(uint request, string name, ulong id, ref T value) where T : unmanaged
    {
        fixed (T* address = &value)
        {
            Access(request, name, id, address, sizeof(T));
        }
    }

    private void Access(uint request, string name, ulong id, void* address, int size)
    {
        // Bits 55:52 are the logarithm of the size: the kernel copies as many bytes.
        if (1 << (int)(id >> 52 & 0xf) != size)
        {
            throw new ArgumentException(
                $"Register 0x{id:x} has {1 << (int)(id >> 52 & 0xf)} bytes; the value has {size}.", nameof(id));
        }

        KvmOneRegister argument = new() { Id = id, Address = address };
        if (LibC.Ioctl(_file, request, &argument) != 0)
        {
            throw new SystemCallException(
                $"{name} 0x{id:x}", Errno.Last,
                "ENOENT: the vCPU has no such register. ENOEXEC: the vCPU is not initialised. EINVAL: that, or the"
                    + " value is wrong.");
        }
    }

    private byte* PayloadOf(KvmExitReason reason) =>
        _exit == reason
            ? Page
            : throw new InvalidOperationException($"The vCPU's last exit was {_exit}, not {reason}.");

    private KvmExitReason ExitFor(int error)
    {
        KvmExitReason reported = (KvmExitReason)ReadAt<uint>(_run, KvmRunLayout.ExitReason);
        switch (error)
        {
            case Errno.EINTR:
                _kick.Answer();
                return KvmExitReason.Interrupted;

            // A vCPU that waits for its start was woken up.
            case Errno.EAGAIN:
                return KvmExitReason.Interrupted;

            // Newer kernels describe the fault in kvm_run.
            case Errno.EFAULT or Errno.EHWPOISON when reported == KvmExitReason.MemoryFault:
                return reported;

            default:
                throw new SystemCallException(
                    $"KVM_RUN of vCPU {Id}", error,
                    "ENOEXEC: the vCPU is not initialised (KVM_ARM_VCPU_INIT). EFAULT: guest memory is not mapped in"
                        + " this process any more. EINVAL: the register state is wrong.");
        }
    }
}
