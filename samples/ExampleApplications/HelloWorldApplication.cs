using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using static OpTeeMediator.Backends.TeeParameterKind;

namespace ExampleApplications;

/// <summary>OP-TEE's example hello_world: counts up and down.</summary>
public sealed class HelloWorldApplication : TrustedApplication
{
    /// <summary>Command: parameter 0 (value, inout): a becomes a + 1.</summary>
    public const uint Increment = 0;

    /// <summary>Command: parameter 0 (value, inout): a becomes a - 1.</summary>
    public const uint Decrement = 1;

    /// <summary>The application's declaration.</summary>
    public static TrustedApplicationManifest Manifest { get; } = new(new Guid("8aaaf200-2450-11e4-abe2-0002a5d5c51b"));

    /// <inheritdoc/>
    protected override TeeReturnCode OpenSession(ApplicationCall call) =>
        call.HasParameters() ? TeeReturnCode.Success : TeeReturnCode.BadParameters;

    /// <inheritdoc/>
    protected override TeeReturnCode InvokeCommand(ApplicationCall call)
    {
        if (call.CommandId is not (Increment or Decrement) || !call.HasParameters(ValueInOut))
        {
            return TeeReturnCode.BadParameters;
        }

        call[0].A = unchecked(call.CommandId == Increment ? call[0].A + 1 : call[0].A - 1);
        return TeeReturnCode.Success;
    }
}
