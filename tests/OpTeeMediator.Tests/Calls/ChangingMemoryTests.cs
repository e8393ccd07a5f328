using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Calls;

/// <summary>Another vCPU changes everything after the mediator's every access: it must go on with
/// what it read first.</summary>
[TestFixture(true)]
[TestFixture(false)]
[Parallelizable(ParallelScope.All)]
internal sealed class ChangingMemoryTests(bool isMapped)
{
    private const ulong Cookie = 0xffff_0000_0938_5a80;
    private const ulong OtherCookie = 0xffff_0000_0938_5b00;

    [Test]
    public async Task Invoke_MessageRewrittenAfterEachAccess_FirstValuesCount()
    {
        await using GuestBench bench = Create(out HookedGuestMemory hooks);
        uint session = bench.Open();
        uint other = bench.Open();
        _ = bench.Share(Cookie, 2);
        ulong page = bench.Driver.MessagePage;
        hooks.After = _ => Scribble(bench, page, new GuestMessage(
            OpTeeMessage.CommandCloseSession, [.. Enumerable.Repeat(
                GuestParameter.RegisteredInOut(0, ulong.MaxValue, Cookie + 1), 6)]) { Session = other });
        List<(TeeParameterKind, ulong, ulong, ulong)> seen = [];
        bench.Backend.OnInvoke = request =>
        {
            seen.AddRange(request.Parameters.ToArray()
                .Select(parameter => (parameter.Kind, parameter.A, parameter.B, parameter.Capacity)));
            request.SetSize(0, 5);
            return new(TeeResult.Success);
        };

        GuestMessage answer = bench.Driver.Invoke(
            session, 7, GuestParameter.RegisteredOut(0x10, 0x20, Cookie), GuestParameter.ValueInOut(3, 4),
            GuestParameter.None, GuestParameter.ValueIn(1, 2));

        hooks.After = null;
        Assert.That((answer.ReturnCode, answer.ReturnOrigin), Is.EqualTo((0u, 4u)));
        Assert.That(seen.Select(parameter => (parameter.Item1, parameter.Item2, parameter.Item3)),
            Is.EqualTo(((TeeParameterKind, ulong, ulong)[])
        [
            (TeeParameterKind.MemoryOutput, 0x10, 0x20), (TeeParameterKind.ValueInOut, 3, 4),
            (TeeParameterKind.None, 0, 0), (TeeParameterKind.ValueInput, 1, 2),
        ]));
        Assert.That(seen[0].Item4, Is.EqualTo(0x20));
        Assert.That(bench.Driver.Invoke(other, 0).ReturnCode, Is.Zero, "The other session should still be open.");
    }

    [Test]
    public async Task OpenSession_MessageRewrittenAfterEachAccess_FirstApplicationIsOpened()
    {
        await using GuestBench bench = Create(out HookedGuestMemory hooks);
        ulong page = bench.Driver.MessagePage;
        (Guid, ClientIdentity) seen = default;
        bench.Backend.OnOpen = request =>
        {
            seen = (request.Application, request.Client);
            return new(TeeResult.Success);
        };
        hooks.After = _ => Scribble(bench, page, FakeDriver.Opening(Guid.NewGuid(), Guid.NewGuid(), 0x8000_0000)
            with { Command = OpTeeMessage.CommandInvoke });

        GuestMessage answer =
            bench.Driver.Send(FakeDriver.Opening(GuestBench.Application, GuestBench.Application, (uint)TeeLogin.User));

        Assert.That(seen,
            Is.EqualTo((GuestBench.Application, new ClientIdentity(TeeLogin.User, GuestBench.Application))));
        Assert.That((answer.ReturnCode, bench.Guest.Status.Sessions), Is.EqualTo((0u, 1)));
    }

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(513)]
    [TestCase(1023)]
    public async Task Register_ListAndMessageRewrittenAfterEachAccess_FirstPagesAreShared(int count)
    {
        await using GuestBench bench = Create(out HookedGuestMemory hooks);
        ulong[] pages = bench.Driver.AllocatePages(count, 2);
        ulong list = bench.Driver.WritePageList(pages);
        ulong page = bench.Driver.MessagePage;
        bench.Driver.Write<byte>(pages[^1] + 0xfff, [0x77]);
        byte[] last = new byte[1];
        bench.Backend.OnRegister = memory =>
            memory.TryRead(memory.Size - 1, last) ? TeeReturnCode.Success : TeeReturnCode.Generic;

        // After the n-th access (the message is the first, and the very first of all) the first n − 1
        // pages of the list have been read.
        ulong[] parts = [list, .. Enumerable.Range(1, count / 511).Select(index => list + ((ulong)index * 0x1000))];
        hooks.After = number =>
        {
            Scribble(bench, page, new GuestMessage(OpTeeMessage.CommandOpenSession,
                GuestParameter.PageList(0x1000, ulong.MaxValue, OtherCookie)));
            foreach (ulong part in parts.Take(number - 1))
            {
                bench.Driver.Write<ulong>(part, [.. Enumerable.Repeat(0x1000_0000ul, 512)]);
            }
        };

        GuestMessage answer = bench.Driver.Send(new GuestMessage(
            OpTeeMessage.CommandRegisterSharedMemory, GuestParameter.PageList(list, (ulong)count * 0x1000, Cookie)));

        hooks.After = null;
        Assert.That((answer.ReturnCode, bench.Guest.Status.SharedPages, last[0]), Is.EqualTo((0u, count, (byte)0x77)));
        Assert.That(bench.Driver.Unregister(Cookie).ReturnCode, Is.Zero,
            "It should be registered by the first cookie.");
        Assert.That(bench.Ram.TryDiscard(new GuestRange(GuestBench.RamStart, GuestBench.RamLength)),
            "Just the pages that were pinned should be unpinned.");
    }

    [Test]
    public async Task Invoke_TemporaryMemoryRewrittenAfterEachAccess_FirstRangeIsShared()
    {
        await using GuestBench bench = Create(out HookedGuestMemory hooks);
        uint session = bench.Open();
        ulong page = bench.Driver.MessagePage;
        ulong[] pages = bench.Driver.AllocatePages(2, 2);
        ulong list = bench.Driver.WritePageList(pages);
        bench.Driver.Write<byte>(pages[1], [0x66]);
        byte[] read = new byte[1];
        bench.Backend.OnInvoke = request =>
            new(request.Parameters[0].TryRead(0x1000, read) ? TeeResult.Success : TeeResult.CommunicationFailure);
        int before = hooks.Accesses;
        hooks.After = number =>
        {
            Scribble(bench, page, GuestBench.Invocation(0, 0, GuestParameter.Temporary(9, 0x1000, ulong.MaxValue, 0)));

            // The first access is to the message, the second to the list.
            bench.Driver.Write<ulong>(list, number - before > 1 ? [0x1000_0000ul, 0x1000_0000ul] : pages);
        };

        GuestMessage answer = bench.Driver.Invoke(
            session, 0, GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInput | OpTeeMessage.AttributeNonContiguous,
                list, 0x2000, 0));

        hooks.After = null;
        Assert.That((answer.ReturnCode, read[0], bench.Guest.Status.Buffers), Is.EqualTo((0u, (byte)0x66, 0)));
    }

    [Test]
    public async Task CloseAndUnregister_MessageRewrittenAfterEachAccess_FirstNamesCount()
    {
        await using GuestBench bench = Create(out HookedGuestMemory hooks);
        uint session = bench.Open();
        uint other = bench.Open();
        _ = bench.Share(Cookie, 1);
        _ = bench.Share(OtherCookie, 1);
        ulong page = bench.Driver.MessagePage;
        hooks.After = _ => Scribble(bench, page, GuestBench.Unregistering(OtherCookie) with { Session = other });

        uint closed = bench.Driver.Send(GuestBench.Closing(session)).ReturnCode;
        uint unregistered = bench.Driver.Send(GuestBench.Unregistering(Cookie)).ReturnCode;

        hooks.After = null;
        Assert.That((closed, unregistered), Is.EqualTo((0u, 0u)));
        Assert.That(bench.Driver.Invoke(other, 0, GuestParameter.RegisteredIn(0, 1, OtherCookie)).ReturnCode, Is.Zero);
        Assert.That(bench.Driver.Invoke(session, 0).ReturnCode, Is.EqualTo(0xffff_0006));
    }

    /// <summary>Rewrites all that the guest gives, and leaves what it gets.</summary>
    private static void Scribble(GuestBench bench, ulong page, GuestMessage message)
    {
        bench.Driver.Write<uint>(page, [message.Command, 0xbad, message.Session, 0xbad]);
        bench.Driver.Write<uint>(page + 28, [0xffff_ffff]);
        for (int index = 0; index < message.Parameters.Length; index++)
        {
            // The first two words of an output are the mediator's to write.
            ulong parameter = page + 32 + (32 * (ulong)index);
            bench.Driver.Write<ulong>(parameter, [message.Parameters[index].Attributes, message.Parameters[index].A]);
            bench.Driver.Write<ulong>(parameter + 16, [message.Parameters[index].B, message.Parameters[index].C]);
        }
    }

    private GuestBench Create(out HookedGuestMemory hooks)
    {
        HookedGuestMemory? created = null;
        GuestBench bench = new(wrap: memory =>
        {
            created = new HookedGuestMemory(memory);
            return isMapped ? created : new PlainGuestMemory(created);
        });
        hooks = created!;
        return bench;
    }
}
