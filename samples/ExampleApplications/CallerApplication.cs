using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using static OpTeeMediator.Backends.TeeParameterKind;

namespace ExampleApplications;

/// <summary>An example of an application that calls others: hello_world and random do its work.</summary>
public sealed class CallerApplication : TrustedApplication
{
    /// <summary>Command: parameter 0 (value, inout): a becomes a + 1, by hello_world.</summary>
    public const uint Increment = 0;

    /// <summary>Command: parameter 0 (memory, output) is filled by random, in the client's own memory.</summary>
    public const uint Generate = 1;

    /// <summary>The application's declaration.</summary>
    public static TrustedApplicationManifest Manifest { get; } = new(new Guid("c1a5f0e2-7b3d-4f60-9a88-2f1d0c4e6b75"));

    /// <inheritdoc/>
    protected override TeeReturnCode InvokeCommand(ApplicationCall call)
    {
        switch (call.CommandId)
        {
            case Increment when call.HasParameters(ValueInOut):
                Span<TeeParameter> number = [TeeParameter.Value(ValueInOut, call[0].A, 0)];
                TeeReturnCode code =
                    Invoke(call, HelloWorldApplication.Manifest.Uuid, HelloWorldApplication.Increment, number);
                call[0].A = (uint)number[0].A;
                return code;

            case Generate when call.HasParameters(MemoryOutput):
                TeeParameter memory = call[0].AsParameter(MemoryOutput, 0, call[0].Size);
                return Invoke(call, RandomApplication.Manifest.Uuid, RandomApplication.Generate, [memory]);

            default:
                return TeeReturnCode.BadParameters;
        }
    }

    private static TeeReturnCode Invoke(
        ApplicationCall call, Guid application, uint command, Span<TeeParameter> parameters)
    {
        TeeReturnCode code = call.OpenSessionWith(application, [], out ClientSession? session).Code;
        if (session is null)
        {
            return code;
        }

        code = session.Invoke(call, command, parameters).Code;
        session.Close(call);
        return code;
    }
}
