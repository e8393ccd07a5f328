using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;

namespace OpTeeMediator.RemoteTests;

/// <summary>Sessions, commands and memory reach a TEE through a server as they do in process.</summary>
[TestFixture(TeeExecution.Inline)]
[TestFixture(TeeExecution.Worker)]
internal sealed class OperationTests(TeeExecution execution)
{
    private ScriptedBackend _backend = null!;
    private RemoteBench _bench = null!;

    [SetUp]
    public void SetUp()
    {
        _backend = new ScriptedBackend { Execution = execution, MemoryExecution = execution };
        _bench = new RemoteBench(_backend);
    }

    [TearDown]
    public async Task TearDown()
    {
        await _bench.DisposeAsync();
        await _backend.DisposeAsync();
    }

    [Test]
    public void OpenSession_WithClient_TeeSeesApplicationAndClient()
    {
        (Guid Application, ClientIdentity Client) seen = default;
        _backend.OnOpen = request =>
        {
            seen = (request.Application, request.Client);
            return new(TeeResult.Success);
        };
        Guid client = Guid.NewGuid();

        GuestMessage answer =
            _bench.Driver.Send(FakeDriver.Opening(RemoteBench.Application, client, (uint)TeeLogin.User));

        Assert.Multiple(() =>
        {
            Assert.That(answer.ReturnCode, Is.Zero);
            Assert.That(seen.Application, Is.EqualTo(RemoteBench.Application));
            Assert.That(seen.Client, Is.EqualTo(new ClientIdentity(TeeLogin.User, client)));
        });
    }

    [Test]
    public void OpenSession_Refused_GuestGetsCodeAndOrigin()
    {
        _backend.OnOpen = _ => new(new TeeResult(TeeReturnCode.AccessDenied, TeeOrigin.TrustedApplication));

        GuestMessage answer = _bench.Driver.OpenSession(RemoteBench.Application);

        Assert.That((answer.ReturnCode, answer.ReturnOrigin), Is.EqualTo((0xffff_0001u, 4u)));
    }

    [Test]
    public void InvokeCommand_WithValues_GuestGetsTheOutputs()
    {
        _backend.OnInvoke = static request =>
        {
            request.SetValue(1, request.Parameters[0].A + request.CommandId, request.Parameters[0].B);
            request.SetValue(2, request.Parameters[2].B, request.Parameters[2].A);
            return new(TeeResult.Success);
        };
        uint session = _bench.Open();

        GuestMessage answer = _bench.Driver.Invoke(
            session, 7, GuestParameter.ValueIn(10, 20), GuestParameter.ValueOut(), GuestParameter.ValueInOut(3, 4));

        Assert.Multiple(() =>
        {
            Assert.That(answer.ReturnCode, Is.Zero);
            Assert.That((answer.Parameters[1].A, answer.Parameters[1].B), Is.EqualTo((17ul, 20ul)));
            Assert.That((answer.Parameters[2].A, answer.Parameters[2].B), Is.EqualTo((4ul, 3ul)));
        });
    }

    [TestCase(1, Description = "contiguous")]
    [TestCase(2, Description = "scattered")]
    public void InvokeCommand_WithRegisteredMemory_TeeReadsAndWritesTheGuestsPages(int stride)
    {
        _backend.OnInvoke = Reverse;
        ulong[] pages = _bench.Driver.AllocatePages(3, stride);
        uint registration = _bench.Driver.Register(pages, 16, 9000, 0x77).ReturnCode;
        WriteText(pages);
        uint session = _bench.Open();

        GuestMessage answer = _bench.Driver.Invoke(session, 0, GuestParameter.RegisteredInOut(4000, 5000, 0x77));

        Assert.Multiple(() =>
        {
            Assert.That(registration, Is.Zero);
            Assert.That(answer.ReturnCode, Is.Zero);
            Assert.That(answer.Parameters[0].B, Is.EqualTo(5000));
            Assert.That(_backend.RegisteredBuffers, Is.EqualTo(1));
            AssertReversed(pages, 4016, 5000);
        });
    }

    [Test]
    public void InvokeCommand_WithTemporaryMemory_TeeReadsAndWritesTheGuestsPages()
    {
        _backend.OnInvoke = Reverse;
        ulong[] pages = _bench.Driver.AllocatePages(3, 2);
        WriteText(pages);
        uint session = _bench.Open();
        ulong list = _bench.Driver.WritePageList(pages);

        GuestMessage answer = _bench.Driver.Invoke(session, 0, new GuestParameter(
            OpTeeMessage.TypeTemporaryInOut | OpTeeMessage.AttributeNonContiguous, list | 100, 6000, 1));

        Assert.Multiple(() =>
        {
            Assert.That(answer.ReturnCode, Is.Zero);
            AssertReversed(pages, 100, 6000);
        });
    }

    [Test]
    public void InvokeCommand_NullReferenceAndShortBuffer_SizesTravel()
    {
        _backend.OnInvoke = static request =>
        {
            request.SetSize(0, 123);
            request.SetSize(1, 1UL << 40);
            return new(request.Parameters[0].Memory is null
                ? TeeResult.FromTee(TeeReturnCode.ShortBuffer)
                : TeeResult.Success);
        };
        ulong page = _bench.Driver.AllocatePage();
        _ = _bench.Driver.Register([page], 0, 4096, 0x55);
        uint session = _bench.Open();

        GuestMessage answer = _bench.Driver.Invoke(
            session, 0, GuestParameter.RegisteredOut(0, 0, 0), GuestParameter.RegisteredOut(0, 4096, 0x55));

        Assert.Multiple(() =>
        {
            Assert.That(answer.ReturnCode, Is.EqualTo((uint)TeeReturnCode.ShortBuffer));
            Assert.That(answer.Parameters[0].B, Is.EqualTo(123));
            Assert.That(answer.Parameters[1].B, Is.EqualTo(1UL << 40));
        });
    }

    [Test]
    public void InvokeCommand_TeeThrows_GuestGetsCommunicationAndServerLogs()
    {
        _backend.OnInvoke = static _ => throw new InvalidOperationException("a fault of the TEE");
        uint session = _bench.Open();

        GuestMessage answer = _bench.Driver.Invoke(session, 0);

        Assert.That((answer.ReturnCode, answer.ReturnOrigin), Is.EqualTo((0xffff_000eu, 2u)));
        Assert.That(_bench.ServerLog.Count("a fault of the TEE"), Is.EqualTo(1));
    }

    [Test]
    public void InvokeCommand_TeeCompletesOnAnotherThread_GuestGetsTheResult()
    {
        _backend.OnInvoke = static async request =>
        {
            await Task.Delay(1);
            request.SetValue(0, 5, 6);
            return TeeResult.Success;
        };
        uint session = _bench.Open();

        GuestMessage answer = _bench.Driver.Invoke(session, 0, GuestParameter.ValueOut());

        Assert.That((answer.Parameters[0].A, answer.Parameters[0].B), Is.EqualTo((5ul, 6ul)));
    }

    [Test]
    public void CloseAndUnregister_TeeHoldsNothing()
    {
        ulong page = _bench.Driver.AllocatePage();
        _ = _bench.Driver.Register([page], 0, 4096, 0x55);
        uint session = _bench.Open();

        _ = _bench.Driver.CloseSession(session);
        _ = _bench.Driver.Unregister(0x55);

        Assert.That((_backend.OpenSessions, _backend.RegisteredBuffers), Is.EqualTo((0, 0)));
    }

    [Test]
    public async Task DisposeAsync_OfTheVm_TeeIsToldAndHoldsNothing()
    {
        _ = _bench.Driver.Register([_bench.Driver.AllocatePage()], 0, 4096, 0x55);
        _ = _bench.Open();

        await _bench.Guest.DisposeAsync();

        Assert.That(
            (_backend.OpenSessions, _backend.RegisteredBuffers, _backend.Disposals), Is.EqualTo((0, 0, 1)));
    }

    [Test]
    public async Task ResetAsync_OfTheVm_TeeIsReset()
    {
        _ = _bench.Open();

        await _bench.Guest.ResetAsync();

        // A reset that takes long goes on after its caller goes on.
        Assert.That(() => (_backend.OpenSessions, _backend.Resets), Is.EqualTo((0, 1)).After(60_000, 10));
    }

    [Test]
    public async Task DisposeAsync_OfTheServer_SessionsAndMemoryAreFreed()
    {
        _ = _bench.Driver.Register([_bench.Driver.AllocatePage()], 0, 4096, 0x55);
        _ = _bench.Open();

        await _bench.StopServerAsync();

        Assert.That(
            (_backend.OpenSessions, _backend.RegisteredBuffers, _backend.Disposals), Is.EqualTo((0, 0, 1)));
    }

    private static ValueTask<TeeResult> Reverse(TeeRequest request)
    {
        TeeParameter parameter = request.Parameters[0];
        byte[] bytes = new byte[parameter.Capacity];
        bool isDone = parameter.TryRead(0, bytes);
        Array.Reverse(bytes);
        isDone &= parameter.TryWrite(0, bytes);
        return new(isDone ? TeeResult.Success : TeeResult.FromTee(TeeReturnCode.Generic));
    }

    private static byte TextAt(int offset) => (byte)(offset * 7 + (offset >> 8));

    private void WriteText(ulong[] pages)
    {
        for (int index = 0; index < pages.Length; index++)
        {
            byte[] page = new byte[OpTeeMessage.PageSize];
            for (int offset = 0; offset < page.Length; offset++)
            {
                page[offset] = TextAt((index * page.Length) + offset);
            }

            _bench.Driver.Write<byte>(pages[index], page);
        }
    }

    private void AssertReversed(ulong[] pages, int start, int length)
    {
        byte[] all = new byte[pages.Length * (int)OpTeeMessage.PageSize];
        for (int index = 0; index < pages.Length; index++)
        {
            const int Size = (int)OpTeeMessage.PageSize;
            _bench.Driver.Read(pages[index], all.AsSpan(index * Size, Size));
        }

        byte[] expected = [.. Enumerable.Range(0, all.Length).Select(TextAt)];
        Array.Reverse(expected, start, length);
        Assert.That(all, Is.EqualTo(expected));
    }
}
