using System.Numerics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using SharpFuzz.Common;

namespace OpTeeMediator.Fuzzing.Engine;

/// <summary>Which edges of the instrumented code executions have passed, and how often, in AFL's classes.</summary>
/// <remarks>SharpFuzz's instrumentation counts each edge in a byte of <see cref="Trace.SharedMem"/>. Without
/// instrumentation nothing is counted.</remarks>
internal sealed unsafe class CoverageMap
{
    private const int Length = 1 << 16;

    private readonly byte* _hits = (byte*)NativeMemory.AlignedAlloc(Length, 64);
    private readonly byte[] _seen = new byte[Length];

    public CoverageMap()
    {
        new Span<byte>(_hits, Length).Clear();
        Trace.SharedMem = _hits;
    }

    /// <summary>Whether it matters how often an edge is passed.</summary>
    public bool Counts { get; set; } = true;

    /// <summary>How many edges were passed so far.</summary>
    public int Edges => _seen.AsSpan().Length - _seen.AsSpan().Count((byte)0);

    /// <summary>Begins an execution.</summary>
    public static void Begin() => Trace.PrevLocation = 0;

    /// <summary>Ends an execution.</summary>
    /// <returns>Whether it has passed an edge that none passed before, or not as often.</returns>
    public bool End()
    {
        bool isNew = false;
        for (int position = 0; position < Length; position += Vector256<byte>.Count)
        {
            Vector256<byte> hits = Vector256.Load(_hits + position);
            if (hits != Vector256<byte>.Zero)
            {
                isNew |= Merge(position);
                Vector256<byte>.Zero.Store(_hits + position);
            }
        }

        return isNew;
    }

    private bool Merge(int start)
    {
        bool isNew = false;
        for (int position = start; position < start + Vector256<byte>.Count; position++)
        {
            // 1, 2–3, 4–7, and so on.
            int times = Counts ? _hits[position] : Math.Min(_hits[position], (byte)1);
            byte kind = times == 0 ? (byte)0 : (byte)(1 << BitOperations.Log2((uint)times));
            isNew |= (kind & ~_seen[position]) != 0;
            _seen[position] |= kind;
        }

        return isNew;
    }
}
