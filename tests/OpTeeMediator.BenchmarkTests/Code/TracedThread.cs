using System.ComponentModel;
using System.Runtime.InteropServices;
using static OpTeeMediator.BenchmarkTests.Code.NativeMethods;

namespace OpTeeMediator.BenchmarkTests.Code;

/// <summary>A thread of another process, stopped, which executes one instruction at a time.</summary>
/// <remarks>Belongs to the thread that created it: Linux knows a tracer by its thread. If the process is a child of
/// this one, then not its main thread: .NET, which waits for the end of children, would take its stops.</remarks>
internal sealed unsafe class TracedThread : IDisposable
{
    /// <summary>EPERM: the number of the error where a host forbids it.</summary>
    public const int NotPermitted = 1;

    private const int Interrupted = 4;
    private const int Trap = 5;

    // struct user_regs_struct: 27 words.
    private const int Words = 27;
    private const int InstructionPointerWord = 16;
    private const int StackPointerWord = 19;

    private readonly int _thread;
    private readonly FileStream _memory;
    private readonly ulong[] _registers = new ulong[Words];

    public TracedThread(int thread)
    {
        _thread = thread;
        Check(Ptrace(PtraceSeize, thread, 0, null));
        Check(Ptrace(PtraceInterrupt, thread, 0, null));
        _ = Wait();
        _memory = new FileStream(
            $"/proc/{thread}/mem", FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
        ReadRegisters();
    }

    public ulong InstructionPointer => _registers[InstructionPointerWord];

    public ulong StackPointer => _registers[StackPointerWord];

    /// <summary>Executes one instruction; <see langword="false"/> if a signal came in between, which is delivered.
    /// </summary>
    public bool TryStep()
    {
        Check(Ptrace(PtraceSingleStep, _thread, 0, null));
        int signal = Wait();
        bool isStep = signal == Trap;
        if (!isStep)
        {
            Check(Ptrace(PtraceSingleStep, _thread, 0, (void*)signal));
            _ = Wait();
        }

        ReadRegisters();
        return isStep;
    }

    /// <summary>Reads memory of the process.</summary>
    /// <returns>As much as there is.</returns>
    public byte[] Read(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        int read = RandomAccess.Read(_memory.SafeFileHandle, bytes, (long)address);
        return bytes[..read];
    }

    public ulong ReadWord(ulong address) => BitConverter.ToUInt64(Read(address, sizeof(ulong)));

    /// <summary>Lets the thread run again.</summary>
    public void Dispose()
    {
        _ = Ptrace(PtraceDetach, _thread, 0, null);
        _memory.Dispose();
    }

    private static void Check(nint result)
    {
        if (result < 0)
        {
            throw new Win32Exception(Marshal.GetLastPInvokeError());
        }
    }

    private void ReadRegisters()
    {
        fixed (ulong* registers = _registers)
        {
            Check(Ptrace(PtraceGetRegisters, _thread, 0, registers));
        }
    }

    /// <summary>Waits until the thread stops.</summary>
    /// <returns>The signal that it has got.</returns>
    private int Wait()
    {
        const int StoppedStatus = 0x7f;
        int result;
        int status;
        do
        {
            result = WaitPid(_thread, out status, WaitForThreads);
        }
        while (result < 0 && Marshal.GetLastPInvokeError() == Interrupted);
        Check(result);
        return (status & 0xff) == StoppedStatus ? (status >> 8) & 0xff
            : throw new InvalidOperationException("The observed process has ended.");
    }
}
