using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>A software TEE with two scripted applications that call each other, and one VM.</summary>
internal sealed class ApplicationPairBench : IAsyncDisposable
{
    public static readonly Guid Caller = new("0f3c4e8e-64e7-4c5f-9f4f-6f2a4d1f9d11");
    public static readonly Guid Callee = new("0f3c4e8e-64e7-4c5f-9f4f-6f2a4d1f9d12");

    public ApplicationPairBench(
        Action<ScriptedApplication> caller,
        Action<ScriptedApplication> callee,
        Func<TrustedApplicationManifest, TrustedApplicationManifest>? manifest = null)
    {
        manifest ??= uuid => uuid;
        SoftwareTeeOptions options = new SoftwareTeeOptions()
            .Add(manifest(new TrustedApplicationManifest(Caller)), () => Create(Callers, caller))
            .Add(manifest(new TrustedApplicationManifest(Callee)), () => Create(Callees, callee));
        Partition = new SoftwareTeeBackend(options).CreatePartition(SoftwareTeeBench.VirtualMachine("vm", Loggers));
    }

    public ITeePartition Partition { get; }

    public RecordingLoggers Loggers { get; } = new();

    public List<ScriptedApplication> Callers { get; } = [];

    public List<ScriptedApplication> Callees { get; } = [];

    public static TrustedApplicationManifest MultiSession(TrustedApplicationManifest manifest) =>
        manifest with { SingleInstance = true, MultiSession = true };

    public async Task<ITeeSession> OpenAsync(Guid application)
    {
        TeeRequest request = new() { Operation = TeeOperation.OpenSession, Application = application };
        Assert.That(await Partition.OpenSessionAsync(request), Is.EqualTo(TeeResult.Success));
        return request.Session!;
    }

    /// <summary>Opens a session with the caller and invokes a command in it.</summary>
    public async Task<TeeReturnCode> InvokeAsync(params TeeParameter[] parameters)
    {
        ITeeSession session = await OpenAsync(Caller);
        TeeResult result = await session.InvokeCommandAsync(SoftwareTeeBench.Command(0, parameters));
        await session.CloseAsync();
        return result.Code;
    }

    public ValueTask DisposeAsync() => Partition.DisposeAsync();

    private static ScriptedApplication Create(List<ScriptedApplication> made, Action<ScriptedApplication> script)
    {
        ScriptedApplication application = new();
        script(application);
        made.Add(application);
        return application;
    }
}
