using OpTeeMediator.Kvm;

namespace OpTeeMediator.Linux.Companion;

/// <summary>How an OP-TEE failed: on which core, why, by which call or exit, and where, if that is known.</summary>
internal readonly record struct TeeFailure(int Core, TeeFailureCause Cause, ulong Number, ulong ProgramCounter)
{
    public override string ToString() => Cause switch
    {
        TeeFailureCause.NoAnswer =>
            $"core {Core} does not answer in time; it has panicked, or hangs with interrupts masked",
        TeeFailureCause.UnexpectedCall =>
            $"core {Core} has made the call 0x{Number:x8} at PC 0x{ProgramCounter:x}, which answers nothing",
        TeeFailureCause.UnexpectedExit =>
            $"core {Core} cannot go on at PC 0x{ProgramCounter:x} (exit {(KvmExitReason)Number})",
        TeeFailureCause.Aborted => "its start was aborted, as its VM ends or starts again",
        _ => $"KVM cannot run core {Core}",
    };
}
