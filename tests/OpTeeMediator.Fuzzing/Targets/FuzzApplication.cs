using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>A trusted application whose commands do what the target says.</summary>
internal sealed class FuzzApplication(Func<ApplicationCall, TeeReturnCode> invoke) : TrustedApplication
{
    protected internal override TeeReturnCode InvokeCommand(ApplicationCall call) => invoke(call);
}
