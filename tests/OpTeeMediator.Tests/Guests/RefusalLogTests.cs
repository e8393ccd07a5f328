using Microsoft.Extensions.Logging;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Forwarding;
using OpTeeMediator.Guests;
using OpTeeMediator.Messages;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Forwarding;
using OpTeeMediator.Tests.Linux;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Guests;

/// <summary>What an operator sees of a guest's mistakes: one entry at Debug with the VM's name and the reason, the same
/// words whether served or forwarded.</summary>
[Parallelizable(ParallelScope.All)]
internal sealed class RefusalLogTests
{
    private const ulong Cookie = 0xffff_0000_0938_5a80;
    private const int GuestServed = 1006;

    [TestCaseSource(nameof(Messages))]
    public async Task Guest_RefusedMessage_OneDebugEntryWithTheReason(GuestMessage message, string reason)
    {
        await using GuestBench bench = new(new OpTeeGuestOptions { Name = "tiny" });
        uint session = bench.Open();

        _ = bench.Driver.TrySend(message with { Session = session });

        AssertOneEntry(bench.Loggers, reason);
    }

    [TestCaseSource(nameof(Messages))]
    public void Forwarder_RefusedMessage_OneDebugEntryWithTheReason(GuestMessage message, string reason)
    {
        ForwarderBench bench = new();
        ForwardedVm vm = bench.Create(options: new OpTeeForwarderOptions { Name = "tiny" });
        uint session = vm.Open();

        _ = vm.Driver.TrySend(message with { Session = session });

        AssertOneEntry(bench.Loggers, reason);
    }

    [TestCase(OpTeeSmc.CallWithArgument, 8ul, RefusalReason.NoMessage)]
    [TestCase(OpTeeSmc.CallWithRpcArgument, 0x1000ul, RefusalReason.MessageOutsideRam)]
    [TestCase(OpTeeSmc.ReturnFromRpc, 0ul, RefusalReason.UnknownResumeInformation)]
    [TestCase(OpTeeSmc.CallWithRegisteredArgument, 0ul, RefusalReason.NoMessage)]
    public async Task Handle_RefusedCall_LogsOneDebugEntryWithTheReason(uint functionId, ulong x2, string reason)
    {
        await using GuestBench guest = new(new OpTeeGuestOptions { Name = "tiny" });
        ForwarderBench forwarder = new();
        ForwardedVm vm = forwarder.Create(options: new OpTeeForwarderOptions { Name = "tiny" });

        _ = guest.Driver.Call(functionId, 0, x2);
        _ = vm.Driver.Call(functionId, 0, x2);

        AssertOneEntry(guest.Loggers, reason);
        AssertOneEntry(forwarder.Loggers, reason);
    }

    [Test]
    public async Task ExchangeCapabilities_UnknownCapability_OneDebugEntryWithTheReason()
    {
        await using GuestBench guest = new(new OpTeeGuestOptions { Name = "tiny" });
        ForwarderBench forwarder = new();
        ForwardedVm vm = forwarder.Create(options: new OpTeeForwarderOptions { Name = "tiny" });

        _ = guest.Driver.Call(OpTeeSmc.ExchangeCapabilities, 2);
        _ = vm.Driver.Call(OpTeeSmc.ExchangeCapabilities, 2);

        AssertOneEntry(guest.Loggers, RefusalReason.UnknownCapability);
        AssertOneEntry(forwarder.Loggers, RefusalReason.UnknownCapability);
    }

    // Here the guest's sessions are the mediator's; behind the forwarder they are OP-TEE's.
    [TestCase(OpTeeMessage.CommandInvoke)]
    [TestCase(OpTeeMessage.CommandCloseSession)]
    [TestCase(OpTeeMessage.CommandCancel)]
    public async Task Guest_UnknownSession_OneDebugEntryWithTheReason(uint command)
    {
        await using GuestBench bench = new(new OpTeeGuestOptions { Name = "tiny" });

        _ = bench.Driver.TrySend(new GuestMessage(command) { Session = 99 });

        AssertOneEntry(bench.Loggers, RefusalReason.UnknownSession);
    }

    [Test]
    public async Task OpenSession_BeyondTheLimit_OneDebugEntryWithTheReason()
    {
        OpTeeLimits limits = new() { Sessions = 1 };
        await using GuestBench guest = new(new OpTeeGuestOptions { Name = "tiny", Limits = limits });
        ForwarderBench forwarder = new();
        ForwardedVm vm = forwarder.Create(options: new OpTeeForwarderOptions { Name = "tiny", Limits = limits });
        _ = guest.Open();
        _ = vm.Open();

        _ = guest.Driver.OpenSession(GuestBench.Application);
        _ = vm.Driver.OpenSession(GuestBench.Application);

        AssertOneEntry(guest.Loggers, RefusalReason.BeyondLimits);
        AssertOneEntry(forwarder.Loggers, RefusalReason.BeyondLimits);
    }

    [Test]
    public async Task RegisterShm_CookieTaken_OneDebugEntryWithTheReason()
    {
        await using GuestBench guest = new(new OpTeeGuestOptions { Name = "tiny" });
        _ = guest.Share(Cookie, 1);

        ForwarderBench forwarder = new();
        ForwardedVm vm = forwarder.Create(options: new OpTeeForwarderOptions { Name = "tiny" });
        _ = vm.Share(Cookie, 1);

        _ = guest.Driver.Register([guest.Driver.AllocatePage()], 0, 0x1000, Cookie);
        _ = vm.Driver.Register([vm.Driver.AllocatePage()], 0, 0x1000, Cookie);

        AssertOneEntry(guest.Loggers, RefusalReason.CookieTaken);
        AssertOneEntry(forwarder.Loggers, RefusalReason.CookieTaken);
    }

    [Test]
    public async Task Calls_AllSlotsTaken_OneDebugEntryWithTheReason()
    {
        await using GuestBench bench = new(new OpTeeGuestOptions { Name = "tiny", Limits = GuestBench.OneCall,
            Quantum = TimeSpan.FromMilliseconds(1) });
        TaskCompletionSource<Backends.TeeResult> end = new();
        uint session = bench.Open();
        bench.Backend.OnInvoke = _ => new(end.Task);
        _ = bench.StartInvoke(session);

        PendingCall refused = bench.Start(GuestBench.Invocation(session, 0));

        Assert.That(refused.Registers.X0, Is.EqualTo(OpTeeSmc.ReturnThreadLimit));
        AssertOneEntry(bench.Loggers, RefusalReason.NoCallSlot);
        end.SetResult(Backends.TeeResult.Success);
    }

    [Test]
    public async Task Start_OfAGuest_OneInformationEntrySaysWhatItMayReach()
    {
        Guid other = new("11111111-2222-3333-4444-555555555555");
        await using GuestBench one = new(new OpTeeGuestOptions
        {
            Name = "tiny", Access = Backends.TeeAccess.Only(GuestBench.Application, other),
        });
        await using GuestBench none = new(
            new OpTeeGuestOptions { Name = "tiny", Access = Backends.TeeAccess.None, Limits = GuestBench.OneCall });
        ForwarderBench forwarder = new();
        ForwardedVm vm = forwarder.Create(options: new OpTeeForwarderOptions { Name = "tiny" });

        Assert.That(StartOf(one.Loggers), Does.StartWith("tiny: ").And.Contains("2 applications (")
            .And.Contains($"{other}").And.Contains($"{GuestBench.Application}").And.Contains("ScriptedBackend"));
        Assert.That(StartOf(none.Loggers), Does.Contain("may reach no application, and hold 1 calls"));
        Assert.That(StartOf(forwarder.Loggers),
            Does.Contain("every application").And.Contains($"its VM {vm.Forwarder.VirtualMachineId}"));
    }

    [Test]
    public async Task Flood_OfRefusals_LeavesAsManyEntriesAsAreAllowed()
    {
        await using GuestBench guest = new(new OpTeeGuestOptions { Name = "tiny" });
        ForwarderBench forwarder = new();
        ForwardedVm vm = forwarder.Create(options: new OpTeeForwarderOptions { Name = "tiny" });
        foreach (FakeDriver driver in new[] { guest.Driver, vm.Driver })
        {
            for (int count = 0; count < 200; count++)
            {
                _ = driver.Call(OpTeeSmc.ReturnFromRpc);
                _ = driver.Call(OpTeeSmc.ExchangeCapabilities, 2);
                _ = driver.Unregister(Cookie + (ulong)count);
            }
        }

        foreach (ListLoggerFactory loggers in new[] { guest.Loggers, forwarder.Loggers })
        {
            // While the test takes some seconds, a few more may pass.
            Assert.That(loggers.EventIds.Count(id => id == 1000), Is.InRange(20, 100));
            Assert.That(loggers.EventIds.Count(id => id == 1005), Is.InRange(20, 100));
        }
    }

    // Not only refusals: every entry, also those of other parts of the core.
    [Test]
    public async Task EveryEntry_OfGuestAndForwarder_NamesTheVm()
    {
        await using GuestBench guest = new(new OpTeeGuestOptions { Name = "tiny" });
        guest.Backend.OnInvoke = _ => throw new InvalidOperationException("A fault of the backend.");
        _ = guest.Driver.Invoke(guest.Open(), 0);
        _ = guest.Driver.Call(OpTeeSmc.ExchangeCapabilities);
        ForwarderBench forwarder = new();
        ForwardedVm vm = forwarder.Create(options: new OpTeeForwarderOptions { Name = "tiny" });
        forwarder.OpTee.OnCall = _ => throw new InvalidOperationException("A fault of the monitor.");
        _ = vm.Driver.Call(OpTeeSmc.CallsUid);
        _ = vm.Driver.TrySend(FakeDriver.Opening(GuestBench.Application, default, 0));

        Assert.That(guest.Loggers.EventIds, Does.Contain(1100).And.Contain(1003));
        Assert.That(forwarder.Loggers.EventIds, Does.Contain(1301));
        Assert.That(guest.Loggers.Messages.Concat(forwarder.Loggers.Messages), Is.All.StartsWith("tiny: "));
    }

    [Test]
    public void VmLogger_Entry_HasTheVmAmongItsValues()
    {
        ValueLogger inner = new();

        new VmLogger(inner, "tiny").MessageRefused(1, 2, Backends.TeeReturnCode.Security, "why");

        Assert.That(inner.Values["Vm"], Is.EqualTo("tiny"));
        Assert.That(inner.Values["Reason"], Is.EqualTo("why"));
        Assert.That(inner.Values["{OriginalFormat}"], Does.StartWith("{Vm}: Message with command {Command}"));
    }

    private static IEnumerable<TestCaseData> Messages()
    {
        const uint Register = OpTeeMessage.CommandRegisterSharedMemory;
        const uint Unregister = OpTeeMessage.CommandUnregisterSharedMemory;
        const uint Invoke = OpTeeMessage.CommandInvoke;
        GuestParameter value = GuestParameter.ValueIn(1, 2);
        yield return Case("register, no parameter", RefusalReason.NotOneParameter, Register);
        yield return Case("register, two parameters", RefusalReason.NotOneParameter, Register, value, value);
        yield return Case("register, no page list", RefusalReason.NotAPageList, Register, value);
        yield return Case("register, list outside RAM", RefusalReason.UnusableMemory, Register,
            GuestParameter.PageList(0x1000, 0x1000, Cookie));
        yield return Case("register, size 0", RefusalReason.UnusableMemory, Register,
            GuestParameter.PageList(GuestBench.RamStart, 0, Cookie));
        yield return Case("register, too large", RefusalReason.BeyondLimits, Register,
            GuestParameter.PageList(GuestBench.RamStart, 1UL << 40, Cookie));
        yield return Case("unregister, no parameter", RefusalReason.NotOneParameter, Unregister);
        yield return Case("unregister, unknown cookie", RefusalReason.UnknownCookie, Unregister,
            GuestParameter.RegisteredIn(0, 0, Cookie));
        yield return Case("invoke, unknown cookie", RefusalReason.UnknownCookie, Invoke,
            GuestParameter.RegisteredIn(0, 1, Cookie));
        yield return Case("invoke, five parameters", RefusalReason.TooManyParameters, Invoke, value, value, value,
            value, value);
        yield return Case("invoke, META", RefusalReason.MetaAttribute, Invoke, GuestParameter.Meta(1, 2, 3));
        yield return Case("invoke, unknown type", RefusalReason.UnknownType, Invoke, new GuestParameter(8));
        yield return Case("open, no parameters", RefusalReason.MetaMissing, OpTeeMessage.CommandOpenSession);
        yield return Case("open, no meta", RefusalReason.MetaMissing, OpTeeMessage.CommandOpenSession, value, value);
        yield return Case("close with parameters", RefusalReason.HasParameters,
            OpTeeMessage.CommandCloseSession, value);
        yield return Case("cancel with parameters", RefusalReason.HasParameters, OpTeeMessage.CommandCancel, value);
        yield return Case("unknown command", RefusalReason.UnknownCommand, 0x99);
        yield return Case("protected memory", RefusalReason.UnknownCommand,
            OpTeeMessage.CommandLendProtectedMemory, value);
    }

    private static TestCaseData Case(string name, string reason, uint command, params GuestParameter[] parameters) =>
        new TestCaseData(new GuestMessage(command, parameters), reason).SetArgDisplayNames(name);

    private static string StartOf(ListLoggerFactory loggers)
    {
        (LogLevel level, _, string message) = loggers.Entries.Single(entry => entry.EventId == GuestServed);
        Assert.That(level, Is.EqualTo(LogLevel.Information));
        return message;
    }

    private static void AssertOneEntry(ListLoggerFactory loggers, string reason)
    {
        (LogLevel Level, int EventId, string Message)[] entries =
            [.. loggers.Entries.Where(entry => entry.EventId != GuestServed)];
        Assert.That(entries, Has.Length.EqualTo(1), string.Join('\n', loggers.Messages));
        Assert.That(entries[0].Message, Does.StartWith("tiny: ").And.EndWith($": {reason}"));
        Assert.That(entries[0].Level, Is.EqualTo(LogLevel.Debug));
    }

    private sealed class ValueLogger : ILogger
    {
        public Dictionary<string, object?> Values { get; private set; } = [];

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception,
            Func<TState, Exception?, string> formatter) =>
            Values = new((IReadOnlyList<KeyValuePair<string, object?>>)state!);
    }
}
