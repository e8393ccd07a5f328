using System.Globalization;
using System.Runtime.InteropServices;

namespace OpTeeMediator.RemoteTests.Soak;

/// <summary>What this process holds while nothing is worked on.</summary>
/// <param name="Threads">Threads, without those of the runtime's pool, whose number follows its load.</param>
/// <param name="PoolThreads">Threads of the runtime's pool.</param>
/// <param name="Descriptors">Open descriptors.</param>
/// <param name="Processes">Child processes.</param>
/// <param name="Managed">Bytes of managed objects, after a garbage collection.</param>
/// <param name="Native">Bytes that malloc has given out.</param>
/// <param name="Dirty">Bytes of memory that only this process has written: managed, native, stacks, code.</param>
internal readonly partial record struct SoakFigures(
    int Threads, int PoolThreads, int Descriptors, int Processes, long Managed, long Native, long Dirty)
{
    /// <summary>Measures.</summary>
    public static SoakFigures Measure()
    {
        for (int round = 0; round < 3; round++)
        {
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
            GC.WaitForPendingFinalizers();
        }

        // What the last collection has left: the allocations since then do not count.
        GCMemoryInfo heap = GC.GetGCMemoryInfo(GCKind.FullBlocking);
        _ = Trim(0);
        string[] threads = [.. Directory.GetDirectories("/proc/self/task").Select(NameOf)];
        int pool = threads.Count(name => name.StartsWith(".NET T", StringComparison.Ordinal));
        return new SoakFigures(
            threads.Length - pool,
            pool,
            Directory.GetFileSystemEntries("/proc/self/fd").Length,
            Directory.GetDirectories("/proc/self/task").Sum(Children),
            heap.HeapSizeBytes - heap.FragmentedBytes,
            (long)Information().InUse,
            PrivateDirty());
    }

    /// <summary>The largest part by which a figure of memory differs.</summary>
    public double DiffersBy(SoakFigures other) => Math.Max(
        Difference(Managed, other.Managed),
        Math.Max(Difference(Native, other.Native), Difference(Dirty, other.Dirty)));

    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{Threads} threads and {PoolThreads} of the pool, {Descriptors} descriptors, {Processes} processes, "
        + $"{Managed / 1024.0:f0} KiB managed, {Native / 1024.0:f0} KiB of malloc, {Dirty / 1024.0:f0} KiB dirty");

    private static double Difference(long one, long other) => Math.Abs(one - other) / (double)other;

    private static string NameOf(string task)
    {
        try
        {
            return File.ReadAllText($"{task}/comm").Trim();
        }
        catch (IOException)
        {
            // It has ended meanwhile.
            return ".NET T";
        }
    }

    private static int Children(string task)
    {
        try
        {
            return File.ReadAllText($"{task}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries).Length;
        }
        catch (IOException)
        {
            return 0;
        }
    }

    private static long PrivateDirty() => File.ReadLines("/proc/self/smaps_rollup")
        .Where(line => line.StartsWith("Private_Dirty:", StringComparison.Ordinal))
        .Sum(line => 1024 * long.Parse(
            line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture));

    [LibraryImport("libc", EntryPoint = "malloc_trim")]
    private static partial int Trim(nuint kept);

    [LibraryImport("libc", EntryPoint = "mallinfo2")]
    private static partial MallocInformation Information();

    /// <summary>glibc's <c>struct mallinfo2</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct MallocInformation
    {
        public nuint Arena;
        public nuint FreeChunks;
        public nuint FastChunks;
        public nuint MappedChunks;
        public nuint Mapped;
        public nuint Unused;
        public nuint FastFree;
        public nuint InUse;
        public nuint Free;
        public nuint Releasable;
    }
}
