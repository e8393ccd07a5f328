using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>The asynchronous form of each call to the guest, on the operation's thread and on another one.</summary>
[TestFixture(false)]
[TestFixture(true)]
internal sealed class AsynchronousGuestTests(bool isElsewhere)
{
    [Test]
    public async Task GetTimeAsync_GuestAnswers_IsItsTime()
    {
        GuestAnswer<DateTimeOffset> time = default;
        await using GuestCallBench bench = Create(async call =>
        {
            time = await call.Guest.GetTimeAsync();
            return time.Code;
        });

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(time.Value, Is.EqualTo(DateTimeOffset.FromUnixTimeMilliseconds(1_000_000_000_005)));
    }

    [Test]
    public async Task SuspendAndNotifyAsync_AnyTime_ReachTheGuest()
    {
        await using GuestCallBench bench = Create(async call =>
            await call.Guest.SuspendAsync(TimeSpan.FromSeconds(1.5))
            | await call.Guest.SendNotificationAsync(70)
            | await call.Guest.WaitForNotificationAsync(71));

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(bench.Services.Calls.Select(asked => (asked.Command, asked.Parameters.Single())), Is.EqualTo(new[]
        {
            (OpTeeRpc.Suspend, GuestParameter.ValueIn(1500, 0)),
            (OpTeeRpc.Notification, GuestParameter.ValueIn(OpTeeRpc.NotificationSend, 70)),
            (OpTeeRpc.Notification, GuestParameter.ValueIn(OpTeeRpc.NotificationWait, 71)),
        }));
    }

    [Test]
    public async Task AllocateAsync_UsedInACall_OutputsComeBackAndMemoryGoesBack()
    {
        TeeParameter[] parameters = new TeeParameter[2];
        int held = -1;
        await using GuestCallBench bench = Create(async call =>
        {
            await using GuestBuffer buffer = (await call.Guest.AllocateAsync(GuestMemoryKind.Supplicant, 6000))!;
            parameters[0] = TeeParameter.Value(TeeParameterKind.ValueInOut, 1, 2);
            parameters[1] = buffer.AsParameter(TeeParameterKind.MemoryOutput, 4090, 100);
            return await call.Guest.CallAsync(OpTeeRpc.Plugin, parameters);
        });
        bench.Services.OnSupplicant = message =>
        {
            held = bench.Services.Memory.Count;
            return message with
            {
                ReturnCode = 0,
                Parameters = [message.Parameters[0] with { A = 100 }, message.Parameters[1] with { B = 50 }],
            };
        };

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That((parameters[0].A, parameters[1].Size), Is.EqualTo((100ul, 50ul)));
        Assert.That((held, bench.Services.Memory.Count), Is.EqualTo((1, 0)));
    }

    [Test]
    public async Task Files_WriteReadRenameListRemove_AsTheBlockingForms()
    {
        byte[] read = new byte[40_000];
        GuestAnswer<int> length = default;
        GuestAnswer<string> entry = default;
        await using GuestCallBench bench = Create(async call =>
        {
            GuestFileSystem files = call.Guest.Files;
            TeeReturnCode code;
            await using (GuestFile file = (await files.CreateAsync("directory/name")).Value!)
            {
                code = await file.WriteAsync(0, new byte[30_000]) | await file.SetLengthAsync(20_000);
            }

            code |= await files.RenameAsync("directory/name", "directory/new", replaces: false);
            await using (GuestFile file = (await files.OpenAsync("directory/new")).Value!)
            {
                length = await file.ReadAsync(1, read);
            }

            await using (GuestDirectory directory = (await files.OpenDirectoryAsync("directory")).Value!)
            {
                entry = await directory.ReadAsync();
            }

            return code | await files.RemoveAsync("directory/new");
        });

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(length, Is.EqualTo(new GuestAnswer<int>(TeeReturnCode.Success, 19_999)));
        Assert.That(entry, Is.EqualTo(new GuestAnswer<string>(TeeReturnCode.Success, "new")));
        Assert.That((bench.Supplicant.Open, bench.Supplicant.Files.Count), Is.EqualTo((0, 0)));
    }

    [Test]
    public async Task OpenAsync_NoSuchFile_CodeAlone()
    {
        GuestAnswer<GuestFile> opened = default;
        await using GuestCallBench bench = Create(async call =>
        {
            opened = await call.Guest.Files.OpenAsync("nothing");
            return opened.Code;
        });

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.ItemNotFound));
        Assert.That((opened.IsSuccess, opened.Value), Is.EqualTo((false, (GuestFile?)null)));
    }

    [Test]
    public async Task AllocateAsync_SizeOutOfRange_ThrowsInTheApplication()
    {
        await using GuestCallBench bench = Create(async call =>
        {
            try
            {
                _ = await call.Guest.AllocateAsync(GuestMemoryKind.Kernel, 0);
                return TeeReturnCode.Success;
            }
            catch (ArgumentOutOfRangeException)
            {
                return TeeReturnCode.BadParameters;
            }
        });

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.BadParameters));
    }

    [Test]
    public async Task WaitAsync_TimeIsOver_Success()
    {
        await using GuestCallBench bench = Create(call => call.WaitAsync(TimeSpan.FromMilliseconds(2)));

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public async Task WaitAsync_ClientCancels_Cancel()
    {
        const uint CancelId = 1;
        await using GuestCallBench bench = Create(call =>
        {
            _ = call.UnmaskCancellation();
            return call.WaitAsync(Timeout.InfiniteTimeSpan);
        });
        PendingCall call = bench.Start(bench.Session, CancelId);

        _ = bench.Driver.Cancel(bench.Session, CancelId);

        Assert.That(bench.Finish(call), Is.EqualTo(TeeReturnCode.Cancel));
    }

    [TestCase(true)]
    [TestCase(false)]
    public async Task Wait_ApplicationCancels_Cancel(bool blocks)
    {
        using CancellationTokenSource end = new();
        await using GuestCallBench bench = new(
            SoftwareTeeBench.PerSession,
            call => blocks ? new(call.Wait(Timeout.InfiniteTimeSpan, end.Token))
                : call.WaitAsync(Timeout.InfiniteTimeSpan, end.Token));
        PendingCall call = bench.Start(bench.Session, 0);

        await end.CancelAsync();

        Assert.That(bench.Finish(call), Is.EqualTo(TeeReturnCode.Cancel));
    }

    private GuestCallBench Create(Func<ApplicationCall, ValueTask<TeeReturnCode>> script) => new(
        SoftwareTeeBench.PerSession,
        async call =>
        {
            await Task.Delay(1).ConfigureAwait(!isElsewhere);
            Assert.That(Thread.CurrentThread.IsThreadPoolThread, Is.EqualTo(isElsewhere));
            return await script(call);
        });
}
