using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.LinuxTee;
using OpTeeMediator.Remote;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.State;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Linux;

namespace OpTeeMediator.Tests.State;

/// <summary>A VM that was saved with one kind of TEE is not restored with another.</summary>
internal sealed class OtherTeeTests
{
    /// <summary>What can be saved. A forwarded VM cannot be.</summary>
    public enum Kind
    {
        Software,
        Server,
        Host,
        Companion,
    }

    private readonly List<FakeTeeDevice> _devices = [];
    private string _folder = "";

    [SetUp]
    public void SetUp() => _folder = Directory.CreateTempSubdirectory("optee-other").FullName;

    [TearDown]
    public void TearDown()
    {
        Assert.That(_devices.TrueForAll(device => device.IsDisposed), "Each device is closed.");
        _devices.Clear();
        Directory.Delete(_folder, recursive: true);
    }

    private static IEnumerable<TestCaseData> Pairs =>
        from saved in Enum.GetValues<Kind>()
        from present in Enum.GetValues<Kind>()
        where saved != present
        select new TestCaseData(saved, present);

    [TestCaseSource(nameof(Pairs))]
    public async Task RestoreAsync_OtherKindOfTee_IsRefusedBothNamedAndNothingChanges(Kind saved, Kind present)
    {
        Kind kind = saved == Kind.Companion ? Kind.Software : saved;
        await using TeeServer server = TeeServer.Start(
            CreateTee(), new TeeServerOptions { SocketPath = Path.Combine(_folder, "tee") });
        await using (MovingVm vm = new(
            () => CreateBackend(kind), new OpTeeGuestOptions { Access = TeeAccess.All }))
        {
            uint session = vm.Open();
            Assert.That(vm.Driver.Register(vm.Driver.AllocatePages(2, 2), 0, 8192, 5).ReturnCode, Is.Zero);
            OpTeeStateOptions dropping = new() { DropsWhatCannotMove = true };
            byte[] own = await vm.SaveAsync(dropping);
            byte[] state = saved == Kind.Companion ? CompanionState() : own;

            Exception refusal = await RefusalAsync(vm, state, present);

            Assert.That(refusal.Message, Does.Contain(NameOf(saved, present)));
            Assert.That(refusal.Message, Does.Contain(present == Kind.Companion ? "neither a companion's"
                : saved == Kind.Companion ? "state of a companion" : "give it the backend that it had"));

            // The saved VM goes on, and its state is still good for its own TEE.
            vm.Guest.Resume();
            Assert.That(Add(vm, session), Is.Zero);
            _ = await vm.SaveAsync(dropping);
            await vm.RestoreAsync(own);
            vm.Guest.Resume();
            Assert.That(Add(vm, session), Is.EqualTo(kind == Kind.Host ? (uint)TeeReturnCode.TargetDead : 0));
            Assert.That(vm.Driver.OpenSession(CountingApplication.PerSession.Uuid).ReturnCode, Is.Zero);
        }

        Assert.That(() => server.VirtualMachines, Is.Zero.After(10_000, 10), "No VM is left at the server.");
    }

    private async Task<Exception> RefusalAsync(MovingVm vm, byte[] state, Kind present)
    {
        try
        {
            if (present == Kind.Companion)
            {
                // The host needs no KVM to refuse it.
                await using OpTeeCompanion companion = await OpTeeCompanion.RestoreAsync(
                    vm.Memory, new OpTeeCompanionOptions { Image = null! }, new MemoryStream(state),
                    new VmStateOptions { VmIdentity = MovingVm.Identity });
            }
            else
            {
                await using OpTeeGuest guest = await OpTeeGuest.RestoreAsync(
                    vm.Memory, CreateBackend(present), vm.Options, state, new OpTeeStateOptions());
            }
        }
        catch (Exception refusal) when (refusal is OpTeeStateException or InvalidDataException)
        {
            return refusal;
        }

        throw new AssertionException("It was restored.");
    }

    private static SoftwareTeeBackend CreateTee() => new(
        new SoftwareTeeOptions().Add(CountingApplication.PerSession, () => new CountingApplication()));

    private ITeeBackend CreateBackend(Kind kind)
    {
        switch (kind)
        {
            case Kind.Software:
                return CreateTee();

            case Kind.Server:
                return new RemoteTeeBackend(Path.Combine(_folder, "tee"));

            default:
                return new LinuxTeeBackend(new LinuxTeeOptions(), _ => OpenDevice());
        }
    }

    private FakeTeeDevice OpenDevice()
    {
        FakeTeeDevice device = new();
        _devices.Add(device);
        return device;
    }

    // Companions need KVM; their state begins as each of a VM.
    private static byte[] CompanionState()
    {
        using MemoryStream content = new();
        using VmStateWriter writer = new(content, new VmStateOptions { VmIdentity = MovingVm.Identity });
        using (Stream section = writer.BeginSection("VMOF"))
        {
            section.Write(new byte[100]);
        }

        writer.Complete();
        return content.ToArray();
    }

    private static string NameOf(Kind saved, Kind present) => (saved, present) switch
    {
        (Kind.Companion, _) => "OpTeeCompanion.RestoreAsync",
        (_, Kind.Companion) => "OpTeeGuest.RestoreAsync",
        (Kind.Software, _) => "SoftwareTeeBackend",
        (Kind.Server, _) => "RemoteTeeBackend",
        _ => "LinuxTeeBackend",
    };

    private static uint Add(MovingVm vm, uint session) => vm.Driver.Invoke(
        session, CountingApplication.Add, GuestParameter.ValueIn(1, 0), GuestParameter.ValueOut()).ReturnCode;
}
