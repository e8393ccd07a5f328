using System.Collections.Immutable;
using OpTeeMediator.Backends;
using OpTeeMediator.Calls;
using OpTeeMediator.ExplorationTests.Scheduling;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.ExplorationTests.Machines;

/// <summary>The yielding calls of a VM with their teardown, as a guest's OP-TEE has them, and a driver for each vCPU.
/// </summary>
/// <remarks>The driver has opened a session and registered a buffer.</remarks>
internal sealed class ExploredVm : ISmcHandler
{
    public const ulong Cookie = 0x10;

    private const int PagesOfCpu = 4;

    private readonly FakeDriver[] _cpus;
    private readonly ExploredProcess _process;

    public ExploredVm(int cpus, TimeSpan quantum)
    {
        _process = new ExploredProcess(Memory, Backend, cpus, quantum, canSleep: false);
        _cpus = new FakeDriver[cpus];
        for (int cpu = 0; cpu < cpus; cpu++)
        {
            ulong pages = ExploredMemory.Start + ((ulong)cpu * PagesOfCpu * GuestPages.PageSize);
            _cpus[cpu] = new FakeDriver(this, Memory, new GuestRange(pages, PagesOfCpu * GuestPages.PageSize));
        }

        Session = _cpus[0].OpenSession(Guid.Empty).Session;
        _ = _cpus[0].Register([ExploredMemory.Start], 0, OpTeeMessage.PageSize, Cookie);
    }

    public ExploredMemory Memory { get; } = new();

    public ExploredBackend Backend { get; } = new();

    public YieldingCalls Calls => _process.Calls;

    public Teardown Teardown => _process.Teardown;

    public uint Session { get; }

    ImmutableArray<SmcFunctionRange> ISmcHandler.Ranges => [];

    /// <summary>Whether the VM has nothing any more, and no call is left.</summary>
    public bool IsEmpty => Backend.IsEmpty && _process.IsEmpty;

    public FakeDriver Cpu(int cpu) => _cpus[cpu];

    /// <summary>An invocation with the buffer.</summary>
    public GuestMessage Invocation(uint function) =>
        new(OpTeeMessage.CommandInvoke, GuestParameter.RegisteredIn(0, 16, Cookie))
        {
            Session = Session,
            Function = function,
        };

    /// <summary>A vCPU makes an invocation to its end; refused, as what it names has gone, it is as good. Where its
    /// driver may end, the message may stay without an answer.</summary>
    public void Invoke(int cpu, bool mayStayUnanswered)
    {
        uint answer = _cpus[cpu].TrySend(Invocation(0));
        GuestMessage message = _cpus[cpu].ReadMessage(_cpus[cpu].MessagePage);
        bool isAnswered =
            (TeeReturnCode)message.ReturnCode is TeeReturnCode.Success or TeeReturnCode.BadParameters;
        bool isUnanswered = message.ReturnCode == GuestMessage.Untouched;
        if (answer != OpTeeSmc.ReturnOk || !(isAnswered || (mayStayUnanswered && isUnanswered)))
        {
            Explorer.Fail($"The call was answered 0x{answer:x} and 0x{message.ReturnCode:x}.");
        }
    }

    SmcOutcome ISmcHandler.Handle(ref SmcRegisters registers, SmcRegisterSet loaded)
    {
        CallSlot? held = null;
        if (registers.FunctionId.WithoutHint.Value != OpTeeSmc.ReturnFromRpc)
        {
            return Calls.Start(ref registers, ref held);
        }

        // The guest's thread gets to other work before it resumes the call.
        Explorer.Yield();
        return Calls.Resume(ref registers, ref held);
    }
}
