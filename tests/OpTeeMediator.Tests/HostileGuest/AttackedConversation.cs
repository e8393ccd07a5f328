using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Tests.Vmm;

namespace OpTeeMediator.Tests.HostileGuest;

/// <summary>What a guest does while it attacks: a message of each kind, with all that the mediator reads for
/// it.</summary>
/// <param name="Name">What it is.</param>
/// <param name="Prepare">Prepares a VM: which fields the mediator will read, and what makes it read them. It gets the
/// function identifier by which messages are sent.</param>
internal sealed record AttackedConversation(
    string Name, Func<RacedVm, uint, (IEnumerable<MessageField> Fields, Action Act)> Prepare)
{
    private const ulong Cookie = RacedVm.Cookie;
    private const ulong OtherCookie = RacedVm.OtherCookie;

    private static readonly uint[] Conduits =
        [OpTeeSmc.CallWithRpcArgument, OpTeeSmc.CallWithArgument, OpTeeSmc.CallWithRegisteredArgument];

    private static AttackedConversation Opening { get; } = new("OpenSession", (vm, _) =>
    {
        vm.Share(Cookie, 2);
        return Of(vm, FakeDriver.Opening(GuestBench.Application, GuestBench.Application, 1,
            GuestParameter.ValueIn(1, 2), GuestParameter.RegisteredInOut(0x10, 0x20, Cookie)));
    });

    private static AttackedConversation Invocation { get; } = new("Invoke", (vm, _) =>
    {
        uint session = vm.Open();
        _ = vm.Open();
        vm.Share(Cookie, 2);
        vm.Share(OtherCookie, 1);
        GuestMessage message = new(OpTeeMessage.CommandInvoke,
            GuestParameter.RegisteredInOut(0x10, 0x20, Cookie), GuestParameter.ValueInOut(3, 4),
            GuestParameter.RegisteredOut(0, 0x30, OtherCookie), GuestParameter.ValueOut())
        {
            Session = session, Function = 7, CancelId = 9,
        };
        return Of(vm, message);
    });

    // The forwarder refuses such memory.
    private static AttackedConversation Temporary { get; } = new("InvokeWithTemporaryMemory", (vm, _) =>
    {
        uint session = vm.Open();
        ulong[] pages = vm.TakePages(3);
        ulong list = vm.Driver.WritePageList(pages.AsSpan(0, 2));
        GuestMessage message = new(OpTeeMessage.CommandInvoke,
            GuestParameter.Temporary(
                OpTeeMessage.TypeTemporaryInOut | OpTeeMessage.AttributeNonContiguous, list, 0x2000, 0),
            GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInput, pages[2], 0x100, 0))
        {
            Session = session,
        };
        return Of(vm, message, MessageField.OfListPage("list", list, 2));
    });

    private static AttackedConversation Unregistration { get; } = new("UnregisterShm", (vm, _) =>
    {
        vm.Share(Cookie, 1);
        vm.Share(Cookie ^ 1, 1);
        return Of(vm, GuestBench.Unregistering(Cookie));
    });

    private static AttackedConversation Answers { get; } = new("AnswersToRpcs", (vm, conduit) =>
    {
        vm.AskTheGuest();
        uint session = vm.Open();
        ulong list = vm.Driver.WritePageList(vm.TakePages(2));
        GuestMessage message = new(OpTeeMessage.CommandInvoke) { Session = session };
        ulong last = vm.Driver.AllocatePage();
        vm.Driver.RpcCookie = OtherCookie;
        vm.Driver.OnRpc = asked => asked.Command switch
        {
            OpTeeRpc.AllocateSharedMemory => asked with
            {
                ReturnCode = 0, Parameters = [GuestParameter.PageList(list, RacedVm.AllocatedSize, Cookie)],
            },
            OpTeeRpc.FileSystem => asked with
            {
                ReturnCode = 0xffff_0008,
                Parameters = [asked.Parameters[0] with { A = 0x33, B = 0x44 }, asked.Parameters[1] with { B = 0x55 }],
            },
            _ => asked with { ReturnCode = 0 },
        };

        // Without room of its own the driver takes its next page when it is asked for some.
        ulong rpc = conduit == OpTeeSmc.CallWithArgument ? last + OpTeeMessage.PageSize
            : vm.Driver.MessagePage + (ulong)OpTeeMessage.Size(0);
        return Of(vm, message,
            [.. MessageField.OfMessage("rpc", rpc, 2), .. MessageField.OfListPage("list", list, 2)]);
    });

    /// <summary>Each conversation with each handler that reads the guest's messages, by each call that sends
    /// them.</summary>
    public static IEnumerable<TestCaseData> All()
    {
        foreach (HandlerKind kind in (HandlerKind[])[HandlerKind.Guest, HandlerKind.Forwarder])
        {
            AttackedConversation[] byEach = kind == HandlerKind.Guest
                ? [Opening, Invocation, Answers, Temporary] : [Opening, Invocation, Answers];
            foreach (AttackedConversation conversation in byEach)
            {
                foreach (uint conduit in Conduits)
                {
                    yield return Case(kind, conduit, conversation);
                }
            }

            foreach (AttackedConversation conversation in (AttackedConversation[])
                [
                    Registration(1), Registration(2), Registration(OpTeeMessage.AddressesPerListPage + 2),
                    Unregistration, WithoutParameters("CloseSession", OpTeeMessage.CommandCloseSession),
                    WithoutParameters("Cancel", OpTeeMessage.CommandCancel),
                    WithoutParameters("StopAsyncNotification", OpTeeMessage.CommandStopAsyncNotification),
                ])
            {
                yield return Case(kind, Conduits[0], conversation);
            }
        }
    }

    /// <summary>As <see cref="All"/>, by the one call that Linux uses.</summary>
    public static IEnumerable<TestCaseData> AllByRpcArgument() =>
        All().Where(data => data.Arguments[1] is OpTeeSmc.CallWithRpcArgument);

    /// <summary>Does it with a new VM, while a field is changed before a read; 0 for no change.</summary>
    public async Task<(string Outcome, RacingGuestMemory Memory, MessageField[] Fields)> RunAsync(
        HandlerKind kind, uint conduit, int before, MessageField changed, Func<ulong, ulong> change)
    {
        await using RacedVm vm = RacedVm.Create(kind);
        if (conduit == OpTeeSmc.CallWithRegisteredArgument)
        {
            // Otherwise the TEE would see what an earlier VM has left there.
            vm.Driver.Write<ulong>(vm.Driver.MessagePage, [vm.Driver.MessagePage]);
            Assert.That(vm.Driver.RegisterMessagePage(), Is.Zero);
        }

        vm.Driver.Conduit = conduit;
        (IEnumerable<MessageField> watched, Action act) = Prepare(vm, conduit);
        MessageField[] fields = [.. watched];
        vm.Memory.Watch(fields, before, changed, change);
        act();
        return (vm.Outcome, vm.Memory, fields);
    }

    public override string ToString() => Name;

    private static TestCaseData Case(HandlerKind kind, uint conduit, AttackedConversation conversation) =>
        new TestCaseData(kind, conduit, conversation).SetArgDisplayNames(
            kind.ToString(), conduit == Conduits[0] ? "Rpc" : conduit == Conduits[1] ? "Plain" : "Registered",
            conversation.Name);

    // With more pages than a page of the list has, its first page ends with the address of the second.
    private static AttackedConversation Registration(int pages) => new($"RegisterShmOf{pages}", (vm, _) =>
    {
        ulong list = vm.Driver.WritePageList(vm.TakePages(pages));
        int onFirst = Math.Min(pages, OpTeeMessage.AddressesPerListPage);
        bool hasNext = onFirst < pages;
        return Of(vm,
            new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory,
                GuestParameter.PageList(list, (ulong)pages * OpTeeMessage.PageSize, Cookie)),
            [
                .. MessageField.OfListPage("list", list, onFirst + (hasNext ? 1 : 0)),
                .. MessageField.OfListPage("list 2", list + OpTeeMessage.PageSize, pages - onFirst),
            ]);
    });

    private static AttackedConversation WithoutParameters(string name, uint command) => new(name, (vm, _) =>
    {
        _ = vm.Open();
        return Of(vm, new GuestMessage(command) { Session = vm.Open(), CancelId = 3 });
    });

    private static (IEnumerable<MessageField> Fields, Action Act) Of(
        RacedVm vm, GuestMessage message, IEnumerable<MessageField>? more = null) =>
        ([.. MessageField.OfMessage("message", vm.Driver.MessagePage, message.Parameters.Length), .. more ?? []],
            () => vm.Send(message));
}
