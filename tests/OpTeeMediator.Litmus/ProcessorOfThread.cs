using System.Runtime.InteropServices;

namespace OpTeeMediator.Litmus;

/// <summary>Binds threads to different processors, on Linux: busy ones may keep two threads on one.</summary>
internal static partial class ProcessorOfThread
{
    // Of cpu_set_t.
    private const int MaskWords = 16;

    /// <summary>Binds the calling thread to one of the processors that it may use.</summary>
    /// <param name="which">Which one of them. Without so many, nothing is done.</param>
    public static void Bind(int which)
    {
        Span<ulong> mask = stackalloc ulong[MaskWords];
        if (!OperatingSystem.IsLinux() || GetAffinity(0, MaskWords * sizeof(ulong), ref mask[0]) < 0)
        {
            return;
        }

        for (int processor = 0; processor < MaskWords * 64; processor++)
        {
            ulong bit = 1UL << (processor % 64);
            if ((mask[processor / 64] & bit) != 0 && which-- == 0)
            {
                mask.Clear();
                mask[processor / 64] = bit;
                _ = SetAffinity(0, MaskWords * sizeof(ulong), ref mask[0]);
                return;
            }
        }
    }

    [LibraryImport("libc", EntryPoint = "sched_getaffinity")]
    private static partial int GetAffinity(int thread, nuint length, ref ulong mask);

    [LibraryImport("libc", EntryPoint = "sched_setaffinity")]
    private static partial int SetAffinity(int thread, nuint length, ref ulong mask);
}
