using System.Runtime.CompilerServices;

namespace OpTeeMediator.Smccc;

/// <summary>The registers X0–X17 of a vCPU at an SMC, the arguments of the call and then its results.</summary>
/// <remarks>144 bytes: always passed by reference. Index it (<c>registers[3]</c>) or use the names of the registers
/// that OP-TEE uses. Source: SMC Calling Convention 1.2 and later (Arm DEN0028) passes arguments in X1–X17. Not
/// thread-safe: it belongs to the thread of one vCPU.</remarks>
[InlineArray(Count)]
public struct SmcRegisters
{
    /// <summary>The number of registers: X0 to X17.</summary>
    public const int Count = 18;

    private ulong _element0;

    /// <summary>The function identifier of the call: W0; the upper half of X0 is ignored.</summary>
    public readonly SmcFunctionId FunctionId => new((uint)_element0);

    /// <summary>X0: the function identifier, then the first result.</summary>
    public ulong X0 { readonly get => this[0]; set => this[0] = value; }

    /// <summary>X1.</summary>
    public ulong X1 { readonly get => this[1]; set => this[1] = value; }

    /// <summary>X2.</summary>
    public ulong X2 { readonly get => this[2]; set => this[2] = value; }

    /// <summary>X3.</summary>
    public ulong X3 { readonly get => this[3]; set => this[3] = value; }

    /// <summary>X4.</summary>
    public ulong X4 { readonly get => this[4]; set => this[4] = value; }

    /// <summary>X5.</summary>
    public ulong X5 { readonly get => this[5]; set => this[5] = value; }

    /// <summary>X6.</summary>
    public ulong X6 { readonly get => this[6]; set => this[6] = value; }

    /// <summary>X7: the hypervisor client ID where a hypervisor forwards calls.</summary>
    public ulong X7 { readonly get => this[7]; set => this[7] = value; }

    /// <summary>The 64-bit value that a 32-bit caller splits over two registers.</summary>
    /// <param name="high">The index of the register with bits 63:32; its own upper half is ignored.</param>
    /// <param name="low">The index of the register with bits 31:0; its upper half is ignored.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly ulong Pair(int high, int low) => this[high] << 32 | (uint)this[low];
}
