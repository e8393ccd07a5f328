using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>A trusted application that does what a test wants and notes which entry points were called.</summary>
internal sealed class ScriptedApplication : TrustedApplication
{
    public List<string> Journal { get; } = [];

    public Func<TeeReturnCode> WhenCreated { get; set; } = () => TeeReturnCode.Success;

    public Func<ApplicationCall, TeeReturnCode> WhenOpened { get; set; } = _ => TeeReturnCode.Success;

    public Func<ApplicationCall, ValueTask<TeeReturnCode>> WhenInvoked { get; set; } = _ => new(TeeReturnCode.Success);

    public Action<ApplicationCall> WhenClosed { get; set; } = _ => { };

    public Func<bool> WhenReset { get; set; } = () => false;

    public Action WhenDestroyed { get; set; } = () => { };

    protected internal override TeeReturnCode Create()
    {
        Journal.Add("Create");
        return WhenCreated();
    }

    protected internal override TeeReturnCode OpenSession(ApplicationCall call)
    {
        Journal.Add("OpenSession");
        return WhenOpened(call);
    }

    protected internal override ValueTask<TeeReturnCode> InvokeCommandAsync(ApplicationCall call)
    {
        lock (Journal)
        {
            Journal.Add($"InvokeCommand {call.CommandId}");
        }

        return WhenInvoked(call);
    }

    protected internal override void CloseSession(ApplicationCall call)
    {
        Journal.Add("CloseSession");
        WhenClosed(call);
    }

    protected internal override bool VirtualMachineReset()
    {
        bool stays = WhenReset();
        if (stays)
        {
            Journal.Add("VirtualMachineReset");
        }

        return stays;
    }

    protected internal override void Destroy()
    {
        Journal.Add("Destroy");
        WhenDestroyed();
    }
}
