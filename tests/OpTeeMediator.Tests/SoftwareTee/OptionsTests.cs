using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.Tests.SoftwareTee;

internal sealed class OptionsTests
{
    private static readonly TrustedApplicationManifest Manifest = SoftwareTeeBench.PerSession;

    private static readonly TrustedApplicationManifest[] Contradictions =
    [
        Manifest with { MultiSession = true },
        Manifest with { InstanceKeepAlive = true },
        Manifest with { Concurrent = true },
        Manifest with { SingleInstance = true, Concurrent = true },
        Manifest with { Execution = (TeeExecution)7 },
        Manifest with { Uuid = Guid.Empty },

        // The device enumeration is the mediator's.
        Manifest with { Uuid = new Guid("7011a688-ddde-4053-a5a9-7b3c4ddf13b8") },
    ];

    [Test]
    public void Add_UuidTwice_NamesBothClasses()
    {
        SoftwareTeeOptions options = new SoftwareTeeOptions().Add(Manifest, () => new FirstApplication());

        Assert.That(
            () => options.Add(Manifest, () => new SecondApplication()),
            Throws.ArgumentException.With.Message.Contains(nameof(FirstApplication))
                .And.Message.Contains(nameof(SecondApplication)).And.Message.Contains(Manifest.Uuid.ToString()));
    }

    [TestCaseSource(nameof(Contradictions))]
    public void Add_ContradictoryManifest_NamesTheClass(TrustedApplicationManifest manifest) => Assert.That(
        () => new SoftwareTeeOptions().Add(manifest, () => new FirstApplication()),
        Throws.ArgumentException.With.Message.Contains(nameof(FirstApplication)));

    [Test]
    public void Add_Null_Throws()
    {
        Assert.That(() => new SoftwareTeeOptions().Add(null!, () => new FirstApplication()),
            Throws.ArgumentNullException);
        Assert.That(() => new SoftwareTeeOptions().Add(Manifest, (Func<FirstApplication>)null!),
            Throws.ArgumentNullException);
    }

    [Test]
    public void SoftwareTee_ApplicationWithTheGeneratorsUuid_SaysHowToReplaceIt()
    {
        SoftwareTeeOptions options = new SoftwareTeeOptions()
            .Add(new(SoftwareTeeBackend.RandomNumberGeneratorUuid), () => new FirstApplication());

        Assert.That(() => new SoftwareTeeBackend(options),
            Throws.ArgumentException.With.Message.Contains(nameof(SoftwareTeeOptions.ProvideRandomNumberGenerator)));
    }

    [Test]
    public void SoftwareTee_ApplicationInTheGeneratorsPlace_IsAccepted()
    {
        SoftwareTeeOptions options = new SoftwareTeeOptions { ProvideRandomNumberGenerator = false }
            .Add(new(SoftwareTeeBackend.RandomNumberGeneratorUuid), () => new FirstApplication());

        Assert.That(() => new SoftwareTeeBackend(options), Throws.Nothing);
    }

    [Test]
    public void SoftwareTee_SameOptionsTwice_IsAccepted()
    {
        SoftwareTeeOptions options = new();
        _ = new SoftwareTeeBackend(options);

        Assert.That(() => new SoftwareTeeBackend(options), Throws.Nothing);
    }

    [Test]
    public async Task Devices_DeclaredOnes_AreAnnounced()
    {
        Guid supplicant = Guid.NewGuid();
        SoftwareTeeOptions options = new SoftwareTeeOptions { ProvideRandomNumberGenerator = false }
            .Add(Manifest, () => new FirstApplication())
            .Add(new(supplicant) { DeviceDependency = TeeDeviceDependency.Supplicant }, () => new SecondApplication());
        await using ITeePartition partition = Partition(options);

        Assert.That(partition.Devices, Is.EqualTo([new TeeDevice(supplicant, TeeDeviceDependency.Supplicant)]));
    }

    [Test]
    public async Task Execution_OneInlineOneWorker_IsEachOnesOwn()
    {
        Guid inline = Guid.NewGuid();
        await using ITeePartition partition = Partition(new SoftwareTeeOptions()
            .Add(Manifest, () => new FirstApplication())
            .Add(new(inline) { Execution = TeeExecution.Inline }, () => new SecondApplication()));

        TeeExecutionPolicy execution = partition.Execution;
        Assert.That(execution.OfApplication(Manifest.Uuid), Is.EqualTo(TeeExecution.Worker));
        Assert.That(execution.OfApplication(inline), Is.EqualTo(TeeExecution.Inline));
        Assert.That(execution.OfApplication(Guid.NewGuid()), Is.EqualTo(TeeExecution.Inline));
    }

    [Test]
    public async Task RegisterMemory_Always_InlineAndNothingToDo()
    {
        await using ITeePartition partition =
            Partition(new SoftwareTeeOptions().Add(Manifest, () => new FirstApplication()));
        ArraySharedMemory memory = new(new byte[16]);

        Assert.That(partition.Execution.Memory, Is.EqualTo(TeeExecution.Inline));
        Assert.That(await partition.RegisterMemoryAsync(memory), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(partition.UnregisterMemoryAsync(memory).AsTask().IsCompletedSuccessfully);
    }

    [Test]
    public void DefaultAccess_Always_Everything() =>
        Assert.That(new SoftwareTeeBackend(new SoftwareTeeOptions()).DefaultAccess, Is.SameAs(TeeAccess.All));

    private static ITeePartition Partition(SoftwareTeeOptions options) =>
        new SoftwareTeeBackend(options).CreatePartition(SoftwareTeeBench.VirtualMachine("vm", new RecordingLoggers()));

    private sealed class FirstApplication : TrustedApplication;

    private sealed class SecondApplication : TrustedApplication;
}
