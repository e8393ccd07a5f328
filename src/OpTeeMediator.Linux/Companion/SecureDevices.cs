using Microsoft.Extensions.Logging;
using OpTeeMediator.Kvm;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Companion;

/// <summary>The devices that OP-TEE accesses: its GIC, and its UART if the console is logged.</summary>
/// <remarks>
/// <code>
/// UART (PL011)   0x00 data: a write is a character      0x18 flags: reads "transmitter empty, receiver empty"
/// </code>
/// Thread-safe.
/// </remarks>
internal sealed class SecureDevices(
    OpTeePlatform platform, SecureGic gic, int cores, TeeConsole? console, string name, ILogger logger)
{
    internal const int UartData = 0x00;
    internal const int UartFlags = 0x18;

    /// <summary>TXFE | RXFE: whatever is written is gone at once, and nothing is ever there to be read.</summary>
    internal const uint UartIsIdle = 0x90;

    private const int UartSize = 0x1000;

    private readonly GuestRange _distributor = new(platform.GicDistributor, SecureGic.DistributorSize);
    private readonly GuestRange _redistributors =
        new(platform.GicRedistributors, (ulong)cores * SecureGic.RedistributorSize);
    private readonly GuestRange _uart = new(platform.Uart, UartSize);

    internal void Access(int core, KvmMmioExit access)
    {
        ulong length = (ulong)access.Data.Length;
        if (_distributor.Contains(access.Address, length))
        {
            gic.AccessDistributor(OffsetIn(_distributor, access.Address), access.IsWrite, access.Data);
        }
        else if (_redistributors.Contains(access.Address, length))
        {
            gic.AccessRedistributors(OffsetIn(_redistributors, access.Address), access.IsWrite, access.Data);
        }
        else if (_uart.Contains(access.Address, length))
        {
            AccessUart(OffsetIn(_uart, access.Address), access);
        }
        else
        {
            logger.CompanionReachesForNothing(name, core, access.Address, access.IsWrite);
            AnswerNothing(access);
        }
    }

    private static int OffsetIn(GuestRange range, GuestAddress address) => (int)(address.Value - range.Start.Value);

    private static void AnswerNothing(KvmMmioExit access)
    {
        if (!access.IsWrite)
        {
            access.Data.Clear();
        }
    }

    private void AccessUart(int offset, KvmMmioExit access)
    {
        if (access.IsWrite)
        {
            if (offset == UartData)
            {
                console?.Write(access.Data[0]);
            }
        }
        else
        {
            access.WriteValue(offset == UartFlags ? UartIsIdle : 0);
        }
    }
}
