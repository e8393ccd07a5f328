using System.Runtime.InteropServices;

namespace OpTeeMediator.BenchmarkTests.Code;

/// <summary>System calls by which a process is observed instruction by instruction.</summary>
internal static unsafe partial class NativeMethods
{
    public const nint PtraceSingleStep = 9;
    public const nint PtraceGetRegisters = 12;
    public const nint PtraceDetach = 17;
    public const nint PtraceSeize = 0x4206;
    public const nint PtraceInterrupt = 0x4207;

    /// <summary>__WALL: threads as well as processes.</summary>
    public const int WaitForThreads = 0x4000_0000;

    [LibraryImport("libc", EntryPoint = "ptrace", SetLastError = true)]
    public static partial nint Ptrace(nint request, nint thread, nint address, void* data);

    [LibraryImport("libc", EntryPoint = "waitpid", SetLastError = true)]
    public static partial int WaitPid(int thread, out int status, int options);
}
