using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeVmm;

/// <summary>A trusted application, with the interface of OP-TEE's example hello_world.</summary>
internal sealed class HelloWorldApplication : TrustedApplication
{
    /// <summary>Command: a of parameter 0 becomes a + 1.</summary>
    public const uint Increment = 0;

    /// <inheritdoc/>
    protected override TeeReturnCode InvokeCommand(ApplicationCall call)
    {
        // The guest is not trusted: check the command and the kinds of its parameters first.
        if (call.CommandId != Increment || !call.HasParameters(TeeParameterKind.ValueInOut))
        {
            return TeeReturnCode.BadParameters;
        }

        call[0].A = unchecked(call[0].A + 1);
        return TeeReturnCode.Success;
    }
}
