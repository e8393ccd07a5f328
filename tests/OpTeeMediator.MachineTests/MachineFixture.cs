using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;
using OpTeeMediator.Machines.Compatibility;

namespace OpTeeMediator.MachineTests;

/// <summary>Boots the machine once for the tests of a fixture.</summary>
/// <remarks>Where the machine cannot be built, its tests are inconclusive on a developer's machine
/// and fail under CI.</remarks>
public abstract class MachineFixture
{
    /// <summary>The category of tests that <c>tests/run --full</c> also runs with the
    /// newest Linux and OP-TEE.</summary>
    internal const string Representative = "Representative";

    private static readonly Lazy<Task<string>> Disk = new(MachineFiles.BuildAsync);

    private Machine? _machine;

    /// <summary>Whether what takes long is wanted too: <c>tests/run --full</c>.</summary>
    internal static bool IsFull { get; } =
        !string.IsNullOrEmpty(Environment.GetEnvironmentVariable("OPTEE_MEDIATOR_FULL"));

    /// <summary>How the machine of this fixture is to be.</summary>
    protected virtual MachineOptions Options { get; } = new();

    protected Machine Machine => _machine ?? throw new InvalidOperationException("The machine has not booted.");

    [OneTimeSetUp]
    public async Task Boot()
    {
        string disk = await DiskAsync();
        _machine = await Machine.BootAsync(Options with { Disk = disk });
        await StartAsync();
    }

    [OneTimeTearDown]
    public async Task SwitchOff()
    {
        try
        {
            await StopAsync();
            await RecordAsync();
        }
        finally
        {
            if (_machine is not null)
            {
                await _machine.DisposeAsync();
            }
        }
    }

    /// <summary>What a fixture starts on its machine.</summary>
    /// <returns>A task.</returns>
    protected virtual Task StartAsync() => Task.CompletedTask;

    /// <summary>What a fixture ends before its machine goes.</summary>
    /// <returns>A task.</returns>
    protected virtual Task StopAsync() => Task.CompletedTask;

    /// <summary>What this fixture tests, for the table of what is known to work; <see langword="null"/> if it
    /// has no line in it.</summary>
    protected virtual string? Subject => null;

    private async Task RecordAsync()
    {
        if (Subject is not null && _machine is not null && CompatibilityRecord.Folder is not null)
        {
            MachinePackages packages = await MachinePackages.ReadAsync();
            TestContext.ResultAdapter result = TestContext.CurrentContext.Result;
            await new CompatibilityRecord(
                Subject,
                _machine.Kernel,
                [.. _machine.GuestKernels],
                Options.HasSecureWorld || Subject == CompanionFixture.Companions ? packages.OpTee : "",
                $"{packages.Supplicant}, {packages.Xtest}",
                result.PassCount,
                result.FailCount).KeepAsync();
        }
    }

    private static async Task<string> DiskAsync()
    {
        try
        {
            return await Disk.Value;
        }
        catch (MachineFailedException exception)
        {
            if (Environment.GetEnvironmentVariable("CI") != "true")
            {
                Assert.Inconclusive(exception.Message);
            }

            throw;
        }
    }
}
