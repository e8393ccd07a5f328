using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>Memory that applications allocate for their VM, and sizes that the client decides.</summary>
internal sealed class ApplicationMemoryTests
{
    private const int Overhead = 128;

    [Test]
    public async Task Allocate_UpToTheQuota_GivesZerosAndRefusesMore()
    {
        List<TeeReturnCode> codes = [];
        Applications applications = new(quota: 1000);
        await using ITeePartition partition = applications.CreatePartition();

        await applications.RunAsync(partition, application =>
        {
            codes.Add(application.Allocate(1000 - Overhead, out ApplicationBuffer? all));
            Assert.That(all!.Memory.ToArray(), Has.Length.EqualTo(1000 - Overhead).And.All.Zero);
            codes.Add(application.Allocate(0, out ApplicationBuffer? more));
            Assert.That(more, Is.Null);
            all.Span.Fill(1);
            Span<byte> bytes = all.Span;
            all.Dispose();
            all.Dispose();
            Assert.That(bytes.ContainsAnyExcept((byte)0), Is.False);
            codes.Add(application.Allocate(1000 - Overhead, out _));
            codes.Add(application.Allocate(int.MaxValue, out _));
        });

        Assert.That(codes, Is.EqualTo(
            [TeeReturnCode.Success, TeeReturnCode.OutOfMemory, TeeReturnCode.Success, TeeReturnCode.OutOfMemory]));
    }

    [TestCase(false)]
    [TestCase(true)]
    public async Task Allocate_InstanceEndsOrPanics_IsOverwrittenAndTheQuotaIsFree(bool panics)
    {
        ApplicationBuffer? left = null;
        Memory<byte> bytes = default;
        Applications applications = new(quota: 1000);
        await using ITeePartition partition = applications.CreatePartition();

        await applications.RunAsync(partition, application =>
        {
            Assert.That(application.Allocate(500, out left), Is.EqualTo(TeeReturnCode.Success));
            bytes = left!.Memory;
            bytes.Span.Fill(1);
            if (panics)
            {
                throw new InvalidOperationException();
            }
        });

        Assert.That(bytes.ToArray(), Is.All.Zero);
        Assert.That(() => left!.Memory, Throws.InstanceOf<ObjectDisposedException>());
        TeeReturnCode again = TeeReturnCode.Generic;
        await applications.RunAsync(
            partition, application => again = application.Allocate(1000 - Overhead, out _));
        Assert.That(again, Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public async Task Allocate_OtherVm_HasAQuotaOfItsOwn()
    {
        TeeReturnCode code = TeeReturnCode.Generic;
        Applications applications = new(quota: 1000);
        await using ITeePartition one = applications.CreatePartition();
        await using ITeePartition two = applications.CreatePartition();

        await applications.RunAsync(one, application =>
        {
            Assert.That(application.Allocate(800, out _), Is.EqualTo(TeeReturnCode.Success));
            applications.RunAsync(two, other => code = other.Allocate(800, out _)).GetAwaiter().GetResult();
        });

        Assert.That(code, Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public void Allocate_InTheConstructor_ReturnsOutOfMemory() =>
        Assert.That(new ScriptedApplication().Allocate(1, out _), Is.EqualTo(TeeReturnCode.OutOfMemory));

    [Test]
    public void MemoryQuota_Negative_ThrowsWithItsName() =>
        Assert.That(
            () => new SoftwareTeeBackend(new SoftwareTeeOptions { MemoryQuota = -1 }),
            Throws.ArgumentException.With.Message.Contains("MemoryQuota is -1"));

    [Test]
    public async Task SystemTime_ReadTwice_DoesNotGoBack()
    {
        TimeSpan first = default, second = default;
        Applications applications = new(quota: 0);
        await using ITeePartition partition = applications.CreatePartition();

        await applications.RunAsync(
            partition, _ => (first, second) = (TrustedApplication.SystemTime, TrustedApplication.SystemTime));

        Assert.That(second, Is.GreaterThanOrEqualTo(first));
        Assert.That(first, Is.GreaterThan(TimeSpan.Zero));
    }

    [TestCase(8, TeeReturnCode.Success)]
    [TestCase(9, TeeReturnCode.Success)]
    [TestCase(7, TeeReturnCode.ExcessData)]
    [TestCase(0, TeeReturnCode.ExcessData)]
    public async Task ReadAll_Parameter_IsLimited(int maximum, TeeReturnCode expected)
    {
        byte[] bytes = [1, 2, 3, 4, 5, 6, 7, 8];

        (TeeReturnCode code, byte[] content) = await ReadAllAsync(
            TeeParameter.Reference(TeeParameterKind.MemoryInput, new ArraySharedMemory(bytes), 0, 8), maximum);

        Assert.That(code, Is.EqualTo(expected));
        Assert.That(content, Is.EqualTo(code == TeeReturnCode.Success ? bytes : []));
    }

    [TestCase(0, TeeReturnCode.Success)]
    [TestCase(4, TeeReturnCode.BadParameters)]
    [TestCase(100, TeeReturnCode.ExcessData)]
    public async Task ReadAll_NullReference_OnlyEmptyIsContent(int size, TeeReturnCode expected)
    {
        TeeParameter parameter = TeeParameter.Reference(TeeParameterKind.MemoryInput, null, 0, (ulong)size);

        Assert.That((await ReadAllAsync(parameter, 10)).Code, Is.EqualTo(expected));
    }

    private static async Task<(TeeReturnCode Code, byte[] Content)> ReadAllAsync(TeeParameter parameter, int maximum)
    {
        byte[] content = [];
        await using SoftwareTeeBench bench = new(
            SoftwareTeeBench.PerSession,
            application => application.WhenInvoked = call => new(call[0].ReadAll(maximum, out content)));
        ITeeSession session = await bench.OpenAsync();
        TeeResult result = await session.InvokeCommandAsync(SoftwareTeeBench.Command(0, parameter));
        return (result.Code, content);
    }

    /// <summary>A TEE whose application does what a test wants in one command.</summary>
    private sealed class Applications
    {
        private readonly SoftwareTeeBackend _tee;
        private ScriptedApplication? _last;

        public Applications(long quota)
        {
            SoftwareTeeOptions options = new() { MemoryQuota = quota };
            _tee = new SoftwareTeeBackend(
                options.Add(SoftwareTeeBench.PerSession, () => _last = new ScriptedApplication()));
        }

        public ITeePartition CreatePartition() =>
            _tee.CreatePartition(SoftwareTeeBench.VirtualMachine("vm", new RecordingLoggers()));

        public async Task RunAsync(ITeePartition partition, Action<ScriptedApplication> command)
        {
            TeeRequest opening =
                new() { Operation = TeeOperation.OpenSession, Application = SoftwareTeeBench.PerSession.Uuid };
            _ = await partition.OpenSessionAsync(opening);
            ScriptedApplication application = _last!;
            application.WhenInvoked = _ =>
            {
                command(application);
                return new(TeeReturnCode.Success);
            };
            _ = await opening.Session!.InvokeCommandAsync(SoftwareTeeBench.Command(0));
            await opening.Session.CloseAsync();
        }
    }
}
