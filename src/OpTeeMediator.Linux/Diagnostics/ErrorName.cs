using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Linux.Diagnostics;

/// <summary>An error number that is turned into its name only when the message is written.</summary>
internal readonly record struct ErrorName(int Number)
{
    public override string ToString() => Number == 0 ? "no error" : Errno.NameOf(Number);
}
