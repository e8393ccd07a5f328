using System.Diagnostics;
using System.Runtime.InteropServices;
using OpTeeMediator.Forwarding;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Machines.Partitioned;

/// <summary>Makes SMCs in the machine: on the CPU whose call this thread answers, or on the one that
/// is there for others.</summary>
/// <remarks>Thread-safe.</remarks>
public sealed class StubMonitor : ISecureMonitor
{
    private const int Asked = 0;
    private const int Answered = 1;
    private const int FirstRegister = 2;
    private const int Registers = 8;
    private const int Numbers = FirstRegister + Registers;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly FileRam _ram;
    private readonly ulong _mailbox;
    private readonly Lock _lock = new();

    internal StubMonitor(FileRam ram, ulong mailbox)
    {
        _ram = ram;
        _mailbox = mailbox;
    }

    public void MakeCall(ref SmcRegisters registers)
    {
        if (StubCpu.Current is { } cpu)
        {
            cpu.MakeCall(ref registers);
            return;
        }

        lock (_lock)
        {
            Span<ulong> mailbox = MemoryMarshal.Cast<byte, ulong>(_ram.At(_mailbox, Numbers * sizeof(ulong)));
            registers[..Registers].CopyTo(mailbox[FirstRegister..]);
            ulong number = mailbox[Asked] + 1;
            Volatile.Write(ref mailbox[Asked], number);
            long start = Stopwatch.GetTimestamp();
            SpinWait wait = default;
            while (Volatile.Read(ref mailbox[Answered]) != number)
            {
                wait.SpinOnce();
                if (Stopwatch.GetElapsedTime(start) > Deadlines.Scale(Patience))
                {
                    throw new TimeoutException(
                        $"The service CPU did not answer SMC 0x{registers.X0:x} within {Deadlines.Scale(Patience)}.");
                }
            }

            mailbox[FirstRegister..].CopyTo(registers[..Registers]);
        }
    }
}
