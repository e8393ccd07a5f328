using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Benchmarks.Scenarios;

/// <summary>INVOKE_COMMAND with four values by CALL_WITH_ARG, in turn in a number of sessions of a number of VMs.
/// </summary>
public sealed class InvokeInTurn : Scenario
{
    private static readonly Guid s_application = new("e5a0b9c2-6b8e-4c47-9d9c-3b1f4b7f9a01");

    private readonly Bench[] _vms;
    private readonly (OpTeeGuest Guest, SmcRegisters Call)[] _calls;
    private int _next;

    /// <summary>Starts the VMs and opens the sessions of each.</summary>
    public InvokeInTurn(int vms, int sessions)
    {
        OpTeeGuestOptions options = new() { Limits = new OpTeeLimits { Sessions = Math.Max(sessions, 256) } };
        _vms = new Bench[vms];
        _calls = new (OpTeeGuest, SmcRegisters)[vms * sessions];
        for (int vm = 0; vm < vms; vm++)
        {
            Bench bench = new(new ScriptedBackend(), 1, options);
            _vms[vm] = bench;
            for (int session = 0; session < sessions; session++)
            {
                _calls[(session * vms) + vm] = (bench.Guest, Open(bench.Drivers[0]));
            }
        }
    }

    public override void Run(int operations)
    {
        for (int count = 0; count < operations; count++)
        {
            ref readonly (OpTeeGuest Guest, SmcRegisters Call) next = ref _calls[_next];
            Bench.Call(next.Guest, next.Call);
            _next = _next + 1 == _calls.Length ? 0 : _next + 1;
        }
    }

    protected override void Dispose(bool disposing)
    {
        foreach (Bench vm in _vms)
        {
            vm.Dispose();
        }

        base.Dispose(disposing);
    }

    private static SmcRegisters Open(FakeDriver driver)
    {
        GuestMessage opened = driver.OpenSession(s_application);
        if (opened.ReturnCode != 0)
        {
            throw new InvalidOperationException($"The benchmark's session was answered 0x{opened.ReturnCode:x}.");
        }

        ulong message = driver.AllocatePage();
        driver.WriteMessage(message, new GuestMessage(
            OpTeeMessage.CommandInvoke,
            [
                GuestParameter.ValueInOut(1, 2), GuestParameter.ValueInOut(3, 4), GuestParameter.ValueInOut(5, 6),
                GuestParameter.ValueInOut(7, 8),
            ]) { Session = opened.Session, Function = 7 });
        return Bench.Registers(OpTeeSmc.CallWithArgument, message, 0);
    }
}
