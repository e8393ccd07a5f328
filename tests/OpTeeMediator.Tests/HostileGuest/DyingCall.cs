using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Tests.Rpc;

namespace OpTeeMediator.Tests.HostileGuest;

/// <summary>A VM with a session, a buffer, and a call that uses both and is brought to a certain point.</summary>
internal sealed class DyingCall : IAsyncDisposable
{
    public const ulong Cookie = 0xffff_0000_0938_5a80;

    private readonly DeathPoint _point;
    private readonly TaskCompletionSource _begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly bool _blocks;
    private uint _session;

    /// <param name="point">Where the call is to die.</param>
    /// <param name="backend">The TEE, which other VMs may share; its script is this call's for as long as it is being
    /// brought to the point.</param>
    public DyingCall(DeathPoint point, ScriptedBackend backend)
    {
        _point = point;
        _blocks = backend.Execution == TeeExecution.Worker;
        Bench = new GuestBench(
            new OpTeeGuestOptions
            {
                // A vCPU is inside as long as the operation runs where it is to die there.
                Quantum = point == DeathPoint.VcpuInside ? TimeSpan.FromSeconds(1) : TimeSpan.Zero,
                NotificationInterrupt = new CountingLine(),
                SleepAfter = TimeSpan.FromMilliseconds(1),
                ShutdownDeadline = TimeSpan.FromSeconds(30),
            },
            backend);
    }

    public GuestBench Bench { get; }

    /// <summary>The call's message and the registers that its guest holds.</summary>
    public PendingCall Call { get; private set; } = null!;

    /// <summary>The vCPU that is inside with the call, if one is.</summary>
    public Task Vcpu { get; private set; } = Task.CompletedTask;

    /// <summary>Whether a call that needs memory for the RPC message has to ask for it.</summary>
    private bool AsksForMemory => _point is DeathPoint.Allocating or DeathPoint.GivingBackMessage;

    /// <summary>Brings the call to its point.</summary>
    public async Task ReachAsync()
    {
        _session = Bench.Open();
        _ = Bench.Share(Cookie, 3);
        Bench.Backend.OnInvoke = InvokeAsync;
        switch (_point)
        {
            case DeathPoint.VcpuInside:
                Call = new PendingCall(Bench.Driver.AllocatePage(), default, 1);
                Bench.Driver.WriteMessage(Call.Page, Invocation);
                Vcpu = Task.Factory.StartNew(() => Bench.Driver.Call(OpTeeSmc.CallWithRpcArgument, 0, Call.Page),
                    TaskCreationOptions.LongRunning);
                await _begun.Task;
                return;

            case DeathPoint.Preempted:
                await StartAsync(Invocation);
                return;

            case DeathPoint.Opening:
                Bench.Backend.OnOpen = _ => WorkAsync();
                await StartAsync(FakeDriver.Opening(GuestBench.Application, default, 0));
                return;

            case DeathPoint.Closing:
                Bench.Backend.OnClose = async () => await WorkAsync();
                await StartAsync(GuestBench.Closing(_session));
                return;

            case DeathPoint.Unregistering:
                Bench.Backend.OnUnregister = async _ => await WorkAsync();
                await StartAsync(GuestBench.Unregistering(Cookie));
                return;

            case DeathPoint.Finished or DeathPoint.RpcRequested:
                await StartAsync(Invocation);
                _end.SetResult();
                await HaltAsync();
                Bench.Guest.Resume();
                return;

            case DeathPoint.DrainingSession or DeathPoint.DrainingBuffer:
                await StartAsync(Invocation);
                Call = Bench.Start(_point == DeathPoint.DrainingSession ? GuestBench.Closing(_session)
                    : GuestBench.Unregistering(Cookie));
                return;

            case DeathPoint.DrainingNotifications:
                Sleep();
                Call = Bench.Start(new GuestMessage(OpTeeMessage.CommandStopAsyncNotification));
                return;

            case DeathPoint.Sleeping:
                Sleep();
                return;

            case DeathPoint.HeldInvoke:
                await HoldAsync(Invocation);
                return;

            case DeathPoint.HeldOpen:
                await HoldAsync(FakeDriver.Opening(GuestBench.Application, default, 0));
                return;

            case DeathPoint.HeldClose:
                await HoldAsync(GuestBench.Closing(_session));
                return;

            case DeathPoint.HeldRegister:
                ulong list = Bench.Driver.WritePageList(Bench.Driver.AllocatePages(2, 2));
                await HoldAsync(new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory,
                    GuestParameter.PageList(list, 0x2000, Cookie + 1)));
                return;

            case DeathPoint.HeldUnregister:
                await HoldAsync(GuestBench.Unregistering(Cookie));
                return;

            case DeathPoint.Abandoned:
                await StartAsync(Invocation);
                _ = Bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0);
                return;

            default:
                CallGuest();
                return;
        }
    }

    /// <summary>Has the backend end whatever it is at.</summary>
    public void End() => _end.TrySetResult();

    public async ValueTask DisposeAsync()
    {
        End();
        await Bench.DisposeAsync();
    }

    private GuestMessage Invocation =>
        GuestBench.Invocation(_session, 0, GuestParameter.RegisteredInOut(0, 0x2000, Cookie));

    /// <summary>What the guest has been asked for when the call is where it is to die: the SMC's return and
    /// the RPC's command.</summary>
    private (uint Return, uint Command) Asked => _point switch
    {
        DeathPoint.Allocating => (OpTeeSmc.ReturnRpcAllocate, 0),
        DeathPoint.GivingBackMessage => (OpTeeSmc.ReturnRpcFree, 0),
        DeathPoint.Declining or DeathPoint.GivingBackMemory => (OpTeeSmc.ReturnRpcCommand, OpTeeRpc.FreeSharedMemory),
        DeathPoint.Sleeping or DeathPoint.DrainingNotifications => (OpTeeSmc.ReturnRpcCommand, OpTeeRpc.Notification),
        _ => (OpTeeSmc.ReturnRpcCommand, OpTeeRpc.Suspend),
    };

    /// <summary>The operation of the call: what it does with the guest before, and after, it is to end.</summary>
    private async ValueTask<TeeResult> InvokeAsync(TeeRequest request)
    {
        GuestServices guest = request.Guest!;
        switch (_point)
        {
            case DeathPoint.Allocating or DeathPoint.Calling or DeathPoint.GivingBackMessage:
                return TeeResult.FromTee(await guest.SuspendAsync(TimeSpan.FromMilliseconds(1)));

            case DeathPoint.CallingWithMemory:
                _ = await guest.AllocateAsync(GuestMemoryKind.Supplicant, 5000);
                return TeeResult.FromTee(await guest.SuspendAsync(TimeSpan.FromMilliseconds(1)));

            case DeathPoint.Declining or DeathPoint.GivingBackMemory:
                _ = await guest.AllocateAsync(GuestMemoryKind.Supplicant, 5000);
                return TeeResult.Success;

            case DeathPoint.RpcRequested:
                _ = await WorkAsync();
                return TeeResult.FromTee(await guest.SuspendAsync(TimeSpan.FromMilliseconds(1)));

            default:
                return await WorkAsync();
        }
    }

    /// <summary>Works until it is to end: blocking on a worker's thread.</summary>
    private async ValueTask<TeeResult> WorkAsync()
    {
        _begun.TrySetResult();
        if (_blocks)
        {
            _end.Task.Wait();
        }

        await _end.Task;
        return TeeResult.Success;
    }

    /// <summary>Starts a call, until the backend is at work with it.</summary>
    private async Task StartAsync(GuestMessage message)
    {
        Call = Bench.Start(message);
        Assert.That(Call.Registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        await _begun.Task;
    }

    /// <summary>Pauses the VM and starts a call.</summary>
    private async Task HoldAsync(GuestMessage message)
    {
        await HaltAsync();
        Call = Bench.Start(message);
        Assert.That(Call.Registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
    }

    /// <summary>Pauses the VM, which waits until the backend has nothing to do: until it has ended,
    /// or asked the guest.</summary>
    private async Task HaltAsync() => Assert.That(await Bench.Guest.PauseAsync());

    private void Sleep()
    {
        _ = Bench.Driver.Call(OpTeeSmc.EnableAsyncNotification);
        CallGuest();
    }

    /// <summary>Starts a command and serves what it asks, until it asks what it is to die at.</summary>
    private void CallGuest()
    {
        FakeDriver driver = Bench.Driver;
        RpcServices services = new(driver);
        driver.Conduit = AsksForMemory ? OpTeeSmc.CallWithArgument : OpTeeSmc.CallWithRpcArgument;
        driver.OnRpc = _point == DeathPoint.Declining
            ? message => message with { ReturnCode = 0, Parameters = [GuestParameter.PageList(0x10_0000, 5000, 7)] }
            : services.Serve;
        (uint asked, uint command) = Asked;
        GuestMessage invocation = Invocation;
        driver.WriteMessage(driver.MessagePage, invocation);
        SmcRegisters registers = driver.Start(driver.MessagePage, 0, 0);
        while ((uint)registers.X0 != asked
            || (asked == OpTeeSmc.ReturnRpcCommand && driver.ReadMessage(RpcPlace, 0).Command != command))
        {
            Assert.That(registers.X0, Is.Not.EqualTo(OpTeeSmc.ReturnOk), "It should not end before.");
            registers = (uint)registers.X0 == OpTeeSmc.ReturnRpcCommand ? Answer(registers) : driver.Step(registers);
        }

        Call = new PendingCall(driver.MessagePage, registers, invocation.Parameters.Length);
    }

    // Behind a message of one parameter.
    private ulong RpcPlace =>
        AsksForMemory ? Bench.Driver.RpcMemory.Values.Single() : Bench.Driver.MessagePage + (ulong)OpTeeMessage.Size(1);

    private SmcRegisters Answer(SmcRegisters registers)
    {
        GuestMessage asked = Bench.Driver.ReadMessage(RpcPlace, 1);
        Bench.Driver.WriteMessage(RpcPlace, Bench.Driver.OnRpc!(asked));
        return Bench.Resume(registers.X3);
    }
}
