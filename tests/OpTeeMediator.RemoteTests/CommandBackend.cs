using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;
using OpTeeMediator.Backends;

namespace OpTeeMediator.RemoteTests;

/// <summary>A TEE whose commands do what a test needs in another process.</summary>
internal sealed partial class CommandBackend : ITeeBackend, ITeePartition, ITeeSession
{
    /// <summary>Adds the two numbers of the first parameter.</summary>
    public const uint Add = 0;

    /// <summary>Asks the guest for the time, and never ends.</summary>
    public const uint Hang = 1;

    /// <summary>Asks the guest to suspend, then succeeds.</summary>
    public const uint Ask = 2;

    /// <summary>Adds up the bytes of the memory that the first parameter refers to.</summary>
    public const uint Sum = 3;

    /// <summary>Computes without end and without a look at anything.</summary>
    public const uint Loop = 4;

    /// <summary>Allocates without end.</summary>
    public const uint Allocate = 5;

    /// <summary>Overflows the stack.</summary>
    public const uint Overflow = 6;

    /// <summary>Returns what the process is permitted: soft limit of files, no_new_privs.</summary>
    public const uint Describe = 7;

    /// <summary>
    /// Returns the mode of seccomp and how many threads do not have it, then what makes an AF_VSOCK socket and a
    /// program fail: error numbers, or 0.
    /// </summary>
    public const uint TryDeniedCalls = 8;

    public TeeAccess DefaultAccess => TeeAccess.All;

    public ITeePartition CreatePartition(TeeVirtualMachine virtualMachine) => this;

    public ValueTask<TeeResult> OpenSessionAsync(TeeRequest request)
    {
        request.Session = this;
        return new(TeeResult.Success);
    }

    public ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request)
    {
        switch (request.CommandId)
        {
            case Add:
                request.SetValue(0, request.Parameters[0].A + request.Parameters[0].B, 0);
                return new(TeeResult.Success);

            case Hang:
                _ = request.Guest!.GetTime();
                Thread.Sleep(Timeout.Infinite);
                return new(TeeResult.Success);

            case Ask:
                return new(TeeResult.FromTee(request.Guest!.Suspend(TimeSpan.Zero)));

            case Sum:
                byte[] bytes = new byte[request.Parameters[0].Capacity];
                bool isRead = request.Parameters[0].TryRead(0, bytes);
                request.SetValue(1, (ulong)bytes.Sum(value => (long)value), 0);
                return new(isRead ? TeeResult.Success : TeeResult.FromTee(TeeReturnCode.Generic));

            case Loop:
                for (ulong count = 1; count != 0; count += 2)
                {
                }

                return new(TeeResult.Success);

            case Allocate:
                List<byte[]> all = [];
                while (true)
                {
                    byte[] more = new byte[1 << 20];
                    Array.Fill(more, (byte)1);
                    all.Add(more);
                }

            case Overflow:
                request.SetValue(0, (ulong)Recurse(1), 0);
                return new(TeeResult.Success);

            case Describe:
                string[] status = File.ReadAllLines("/proc/self/status");
                string[] limits = File.ReadAllLines("/proc/self/limits");
                request.SetValue(0, NumberOf(limits, "Max open files"), NumberOf(status, "NoNewPrivs:"));
                request.SetValue(1, (ulong)Environment.ProcessId, NumberOf(limits, "Max core file size"));
                return new(TeeResult.Success);

            case TryDeniedCalls:
                string[] own = File.ReadAllLines("/proc/self/status");
                request.SetValue(0, NumberOf(own, "Seccomp:"), (ulong)Directory.GetDirectories("/proc/self/task")
                    .Count(task => NumberOf(File.ReadAllLines($"{task}/status"), "Seccomp:") == 0));
                request.SetValue(1, (ulong)ErrorOfVsock(), (ulong)ErrorOfProgram());
                return new(TeeResult.Success);

            default:
                return new(TeeResult.FromTee(TeeReturnCode.NotSupported));
        }
    }

    private static int ErrorOfVsock()
    {
        const int AF_VSOCK = 40;
        const int SOCK_STREAM = 1;
        int descriptor = OpenSocket(AF_VSOCK, SOCK_STREAM, 0);
        return descriptor < 0 ? Marshal.GetLastPInvokeError() : 0;
    }

    private static int ErrorOfProgram()
    {
        try
        {
            using Process program = Process.Start("/bin/true");
            program.WaitForExit();
            return 0;
        }
        catch (Win32Exception failure)
        {
            return failure.NativeErrorCode;
        }
    }

    [LibraryImport("libc", EntryPoint = "socket", SetLastError = true)]
    private static partial int OpenSocket(int family, int type, int protocol);

    private static int Recurse(int depth) => depth == 0 ? 0 : 1 + Recurse(depth + 1) + (depth & 1);

    private static ulong NumberOf(string[] lines, string name) => ulong.Parse(
        lines.First(line => line.StartsWith(name, StringComparison.Ordinal))[name.Length..]
            .Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries)[0],
        System.Globalization.CultureInfo.InvariantCulture);
}
