using Iced.Intel;

namespace OpTeeMediator.BenchmarkTests.Code;

/// <summary>An instruction that was executed, and whose it is; <see langword="null"/> if the runtime does not say:
/// native code, such as its helpers for allocation, boxing and exceptions.</summary>
internal readonly record struct ExecutedInstruction(Instruction Instruction, CodeRange? Code)
{
    /// <summary>Whether it has its memory for itself, or waits for all writes before it.</summary>
    public bool IsLocked => Instruction.HasLockPrefix || Instruction.Mnemonic == Mnemonic.Mfence
        || (Instruction.Mnemonic == Mnemonic.Xchg
            && (Instruction.Op0Kind == OpKind.Memory || Instruction.Op1Kind == OpKind.Memory));

    public bool IsCall => Instruction.FlowControl is FlowControl.Call or FlowControl.IndirectCall;

    public bool IsJump => Instruction.FlowControl is FlowControl.UnconditionalBranch or FlowControl.IndirectBranch
        or FlowControl.ConditionalBranch;
}
