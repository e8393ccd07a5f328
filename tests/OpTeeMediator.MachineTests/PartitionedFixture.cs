using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;
using OpTeeMediator.Machines.Compatibility;
using OpTeeMediator.Machines.Partitioned;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.MachineTests;

/// <summary>Boots the partitioned machine once for the tests of a fixture.</summary>
/// <param name="options">How it is to be.</param>
/// <remarks>Where the machine cannot be built, its tests are inconclusive on a developer's machine
/// and fail under CI.</remarks>
public abstract class PartitionedFixture(PartitionedMachineOptions options)
{
    private PartitionedMachine? _machine;

    protected PartitionedMachine Machine =>
        _machine ?? throw new InvalidOperationException("The machine has not booted.");

    /// <summary>What answers the guest's calls.</summary>
    protected ISmcHandler? Handler { get; private set; }

    [OneTimeSetUp]
    public async Task Boot()
    {
        try
        {
            _machine = await PartitionedMachine.CreateAsync(options);
        }
        catch (MachineFailedException exception) when (Environment.GetEnvironmentVariable("CI") != "true")
        {
            Assert.Inconclusive(exception.Message);
        }

        Machine.PowerOn();
        Handler = CreateHandler();
        await Machine.BootAsync(Handler);
        await StartAsync();
    }

    [OneTimeTearDown]
    public async Task SwitchOff()
    {
        try
        {
            await StopAsync();
            await RecordAsync();
            await (Handler is IAsyncDisposable handler ? handler.DisposeAsync() : ValueTask.CompletedTask);
        }
        finally
        {
            if (_machine is not null)
            {
                await _machine.DisposeAsync();
            }
        }
    }

    /// <summary>Creates what answers the guest's calls; the machine is on.</summary>
    /// <returns>The handler.</returns>
    protected abstract ISmcHandler CreateHandler();

    /// <summary>What a fixture starts in the guest.</summary>
    /// <returns>A task.</returns>
    protected virtual Task StartAsync() => Task.CompletedTask;

    /// <summary>What a fixture ends before its machine goes.</summary>
    /// <returns>A task.</returns>
    protected virtual Task StopAsync() => Task.CompletedTask;

    /// <summary>What this fixture tests, for the table of what is known to work; <see langword="null"/> if it
    /// has no line in it.</summary>
    protected virtual string? Subject => null;

    /// <summary>The version of the guest's kernel, for that table; empty if there is none.</summary>
    protected virtual string GuestVersion => Machine.GuestKernel;

    /// <summary>Whether the guest has tee-supplicant and xtest.</summary>
    protected virtual bool HasClients => true;

    private async Task RecordAsync()
    {
        if (Subject is not null && _machine is not null && CompatibilityRecord.Folder is not null)
        {
            MachinePackages packages = await MachinePackages.ReadAsync();
            TestContext.ResultAdapter result = TestContext.CurrentContext.Result;
            await new CompatibilityRecord(
                Subject,
                "",
                GuestVersion.Length == 0 ? [] : [GuestVersion],
                _machine.HasSecureWorld ? packages.OpTee : "",
                HasClients ? $"{packages.Supplicant}, {packages.Xtest}" : "",
                result.PassCount,
                result.FailCount).KeepAsync();
        }
    }
}
