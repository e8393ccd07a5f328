using OpTeeMediator.Backends;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.LinuxTee;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Tests.Linux;

/// <summary>The host's TEE as a backend, over a driver that the tests provide. Sessions and commands: who the client
/// is, values, what the driver answers.</summary>
[TestFixture]
internal sealed class LinuxTeeSessionTests : LinuxTeeFixture
{
    [Test]
    public async Task OpenSession_Application_IsNamedInOctetsOfItsText()
    {
        ITeeSession session = await OpenAsync();

        TeeOpenSessionArgument argument = Device.Openings.Last();
        byte[] octets = ((ReadOnlySpan<byte>)argument.Application).ToArray();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Convert.ToHexStringLower(octets), Is.EqualTo("8aaaf200245011e4abe20002a5d5c51b"));
            Assert.That(((ITeePartition)Partition).Execution, Is.SameAs(TeeExecutionPolicy.Worker));
        }
    }

    [TestCase(LinuxTeeLogin.Public, TeeLogin.Public, TeeLogin.Public)]
    [TestCase(LinuxTeeLogin.Public, TeeLogin.User, TeeLogin.Public)]
    [TestCase(LinuxTeeLogin.Public, TeeLogin.GroupApplication, TeeLogin.Public)]
    [TestCase(LinuxTeeLogin.PublicForKernelToo, TeeLogin.Kernel, TeeLogin.Public)]
    [TestCase(LinuxTeeLogin.VmmUser, TeeLogin.Public, TeeLogin.Public)]
    [TestCase(LinuxTeeLogin.VmmUser, TeeLogin.Application, TeeLogin.User)]
    public async Task OpenSession_LoginPolicy_IsWhatTheHostSees(
        LinuxTeeLogin policy, TeeLogin claimed, TeeLogin expected)
    {
        LinuxTeePartition partition = CreatePartition(new LinuxTeeOptions { Login = policy }, TeeAccess.All);

        TeeResult result = await partition.OpenSessionAsync(OpenRequest(claimed));

        TeeOpenSessionArgument argument = Device.Openings.Last();
        byte[] client = ((ReadOnlySpan<byte>)argument.Client).ToArray();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(result.IsSuccess, Is.True);
            Assert.That(argument.ClientLogin, Is.EqualTo(expected));
            Assert.That(client, Is.All.Zero);
        }
    }

    [TestCase(LinuxTeeLogin.Public, 0x8000_0000u)]
    [TestCase(LinuxTeeLogin.Public, 0xbfff_ffffu)]
    [TestCase(LinuxTeeLogin.VmmUser, 0x8000_0000u)]
    public async Task OpenSession_GuestKernel_IsRefusedAndHostNotAsked(LinuxTeeLogin policy, uint claimed)
    {
        LinuxTeePartition partition = CreatePartition(new LinuxTeeOptions { Login = policy }, TeeAccess.All);
        int openings = Device.Openings.Count;

        TeeResult result = await partition.OpenSessionAsync(OpenRequest((TeeLogin)claimed));

        using (Assert.EnterMultipleScope())
        {
            Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.AccessDenied, TeeOrigin.Communication)));
            Assert.That(Device.Openings, Has.Count.EqualTo(openings));
        }
    }

    [Test]
    public async Task OpenSession_ApplicationNotListed_DoesNotExist()
    {
        LinuxTeePartition partition = CreatePartition(new LinuxTeeOptions(), TeeAccess.Only(RandomNumbers));
        int openings = Device.Openings.Count;

        TeeResult result = await partition.OpenSessionAsync(OpenRequest(TeeLogin.Public));

        using (Assert.EnterMultipleScope())
        {
            Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.ItemNotFound, TeeOrigin.Tee)));
            Assert.That(Device.Openings, Has.Count.EqualTo(openings));
        }
    }

    [Test]
    public async Task OpenSession_TeeRefuses_CodeAndOriginArePassedOn()
    {
        Device.OnOpenSession = _ => TeeReturnCode.AccessConflict;
        TeeRequest request = OpenRequest(TeeLogin.Public);

        TeeResult result = await Partition.OpenSessionAsync(request);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.AccessConflict, TeeOrigin.TrustedApplication)));
            Assert.That(request.Session, Is.Null);
        }
    }

    [Test]
    public async Task CloseSession_OfOpenSession_TellsTheHost()
    {
        ITeeSession session = await OpenAsync();
        await session.CloseAsync();

        Assert.That(Device.Closings.Last(), Is.EqualTo(102));
    }

    [Test]
    public async Task InvokeCommand_Values_GoThereAndBackByDirection()
    {
        Device.OnInvoke = (ref argument) =>
        {
            for (int index = 0; index < TeeRequest.ParameterCount; index++)
            {
                argument.Parameters[index].A += 0x100;
                argument.Parameters[index].B += 0x200;
            }
        };
        TeeRequest request = await RequestAsync(7);
        request.WritableParameters[0] = TeeParameter.Value(TeeParameterKind.ValueInput, 1, 2);
        request.WritableParameters[1] = TeeParameter.Value(TeeParameterKind.ValueOutput, 3, 4);
        request.WritableParameters[2] = TeeParameter.Value(TeeParameterKind.ValueInOut, 5, 6);

        TeeResult result = await request.Session!.InvokeCommandAsync(request);

        TeeInvokeArgument there = Device.Invocations.Last();
        (ulong, ulong)[] sent = [(there.Parameters[0].A, there.Parameters[0].B),
            (there.Parameters[1].A, there.Parameters[1].B), (there.Parameters[2].A, there.Parameters[2].B)];
        (ulong, ulong)[] received =
            [.. request.Parameters.ToArray().Take(3).Select(parameter => (parameter.A, parameter.B))];
        using (Assert.EnterMultipleScope())
        {
            Assert.That(result, Is.EqualTo(TeeResult.Success));
            Assert.That(there.Function, Is.EqualTo(7));
            Assert.That(there.Session, Is.EqualTo(102));
            Assert.That(there.Parameters[1].Attributes, Is.EqualTo((ulong)TeeParameterKind.ValueOutput));
            Assert.That(there.Parameters[3].Attributes, Is.Zero);
            Assert.That(sent, Is.EqualTo([(1UL, 2UL), (0UL, 0UL), (5UL, 6UL)]));
            Assert.That(received, Is.EqualTo([(1UL, 2UL), (0x100UL, 0x200UL), (0x105UL, 0x206UL)]));
        }
    }

    [TestCase(Errno.ENOMEM, TeeReturnCode.OutOfMemory, 2207)]
    [TestCase(Errno.EINVAL, TeeReturnCode.BadParameters, 2207)]
    [TestCase(Errno.EBUSY, TeeReturnCode.Busy, 2207)]
    [TestCase(Errno.EPERM, TeeReturnCode.AccessDenied, 2207)]
    [TestCase(Errno.EIO, TeeReturnCode.Communication, 2208)]
    [TestCase(Errno.EINTR, TeeReturnCode.Communication, 2208)]
    public async Task InvokeCommand_DriverFails_BecomesACodeOfTheWayThere(
        int error, TeeReturnCode expected, int eventId)
    {
        TeeRequest request = await RequestAsync(1);
        Device.InvokeError = error;

        TeeResult result = await request.Session!.InvokeCommandAsync(request);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(result, Is.EqualTo(new TeeResult(expected, TeeOrigin.Communication)));
            Assert.That(Log.EventIds.Last(), Is.EqualTo(eventId));
        }
    }

    [Test]
    public async Task InvokeCommand_SteadyState_AllocatesNothing()
    {
        SharedBuffer buffer = Buffer(Memory, 0, 2 * Page, Start, Start + (7 * Page));
        TeeRequest request = await RequestAsync(1);
        _ = await Partition.RegisterMemoryAsync(buffer);
        request.WritableParameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryInOut, buffer, 0, Page);
        request.WritableParameters[1] = TeeParameter.Reference(TeeParameterKind.MemoryOutput, null, 0, 0);
        request.WritableParameters[2] = TeeParameter.Value(TeeParameterKind.ValueInOut, 1, 2);
        Device.IsRecording = false;
        int successes = InvokeTimes(request, 1000);

        long before = GC.GetAllocatedBytesForCurrentThread();
        successes += InvokeTimes(request, 1000);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;

        using (Assert.EnterMultipleScope())
        {
            Assert.That(allocated, Is.Zero);
            Assert.That(successes, Is.EqualTo(2000));
        }
    }

    private static int InvokeTimes(TeeRequest request, int times)
    {
        int successes = 0;
        for (int index = 0; index < times; index++)
        {
            ValueTask<TeeResult> result = request.Session!.InvokeCommandAsync(request);
            successes += result.IsCompletedSuccessfully && result.Result.IsSuccess ? 1 : 0;
        }

        return successes;
    }
}
