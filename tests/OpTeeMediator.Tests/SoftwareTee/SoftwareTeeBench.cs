using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>A software TEE with one scripted application and one VM, driven the way the mediator does.</summary>
internal sealed class SoftwareTeeBench : IAsyncDisposable
{
    public static readonly TrustedApplicationManifest PerSession =
        new(new Guid("0f3c4e8e-64e7-4c5f-9f4f-6f2a4d1f9d10"));

    public static readonly TrustedApplicationManifest SingleSession = PerSession with { SingleInstance = true };

    public static readonly TrustedApplicationManifest MultiSession = SingleSession with { MultiSession = true };

    public static readonly TrustedApplicationManifest KeepAlive = MultiSession with { InstanceKeepAlive = true };

    public static readonly TrustedApplicationManifest Concurrent = MultiSession with { Concurrent = true };

    private readonly Guid _uuid;

    public SoftwareTeeBench(TrustedApplicationManifest manifest, Action<ScriptedApplication>? script = null)
    {
        _uuid = manifest.Uuid;
        Tee = new SoftwareTeeBackend(new SoftwareTeeOptions { ProvideRandomNumberGenerator = false }.Add(manifest, () =>
        {
            ScriptedApplication application = new();
            script?.Invoke(application);
            Instances.Add(application);
            return application;
        }));
        Partition = Tee.CreatePartition(VirtualMachine("vm", Loggers));
    }

    public SoftwareTeeBackend Tee { get; }

    public ITeePartition Partition { get; }

    public RecordingLoggers Loggers { get; } = new();

    /// <summary>What the factory has made.</summary>
    public List<ScriptedApplication> Instances { get; } = [];

    public static TeeVirtualMachine VirtualMachine(string name, RecordingLoggers loggers) =>
        new(name, TeeAccess.All, 4, loggers);

    public static TeeRequest Command(uint command, params ReadOnlySpan<TeeParameter> parameters) =>
        new(parameters) { Operation = TeeOperation.InvokeCommand, CommandId = command };

    public TeeRequest Opening(ClientIdentity client = default) =>
        new() { Operation = TeeOperation.OpenSession, Application = _uuid, Client = client };

    public Task<TeeResult> TryOpenAsync() => Partition.OpenSessionAsync(Opening()).AsTask();

    public async Task<ITeeSession> OpenAsync(ClientIdentity client = default)
    {
        TeeRequest request = Opening(client);
        TeeResult result = await Partition.OpenSessionAsync(request);
        Assert.That(result, Is.EqualTo(TeeResult.Success));
        return request.Session!;
    }

    public ValueTask DisposeAsync() => Partition.DisposeAsync();
}
