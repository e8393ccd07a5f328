using OpTeeMediator.Machines;

namespace OpTeeMediator.MachineTests;

/// <summary>Boots the machine, and one guest on it, once for the tests of a fixture.</summary>
/// <param name="options">How the guest is to be.</param>
public abstract class GuestFixture(GuestOptions options) : MachineFixture
{
    private Guest? _guest;

    protected Guest Guest => _guest ?? throw new InvalidOperationException("The guest has not booted.");

    protected override async Task StartAsync() => _guest = await Guest.StartAsync(Machine, 1, options);

    protected override async Task StopAsync()
    {
        if (_guest is not null)
        {
            await _guest.DisposeAsync();
        }
    }
}
