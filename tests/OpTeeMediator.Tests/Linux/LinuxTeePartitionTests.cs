using OpTeeMediator.Backends;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.LinuxTee;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Tests.Linux;

/// <summary>The host's TEE as a backend, over a driver that the tests provide. What a VM gets when the host has a TEE,
/// and what is said when it has none.</summary>
[TestFixture]
internal sealed class LinuxTeePartitionTests : LinuxTeeFixture
{
    private static readonly Guid Attestation = new("39800861-182a-4720-9b67-2bcd622bc0b5");

    [Test]
    public void CreatePartition_NoDevice_SaysWhatTheHostLacks()
    {
        using LinuxTeeBackend backend = new(new LinuxTeeOptions { DevicePath = "/dev/no-tee-here" });

        Assert.That(
            () => backend.CreatePartition(VirtualMachine(TeeAccess.All)),
            Throws.InstanceOf<TeeUnavailableException>().With.Message.Contains("/dev/no-tee-here")
                .And.Message.Contains("ENOENT").And.Message.Contains("optee"));
    }

    [Test]
    public void CreatePartition_NotATee_SaysSo()
    {
        using LinuxTeeBackend backend = new(new LinuxTeeOptions { DevicePath = "/dev/null" });

        Assert.That(
            () => backend.CreatePartition(VirtualMachine(TeeAccess.All)),
            Throws.InstanceOf<TeeUnavailableException>().With.Message.Contains("TEE_IOC_VERSION (ENOTTY)"));
    }

    [TestCase(Errno.EACCES, "group")]
    [TestCase(Errno.EBUSY, "tee-supplicant")]
    [TestCase(Errno.EMFILE, "RLIMIT_NOFILE")]
    public void OpenFailure_KnownError_SaysWhatToDo(int error, string remedy) =>
        Assert.That(TeeSupport.OpenFailure("/dev/tee0", error).Message, Does.Contain(Errno.NameOf(error))
            .And.Contain(remedy));

    [TestCase(2u, 0xdu, "another TEE")]
    [TestCase(1u, 0xfu, "tee-supplicant")]
    [TestCase(1u, 0x9u, "TEE_GEN_CAP_REG_MEM")]
    [TestCase(1u, 0x5u, "TEE_GEN_CAP_MEMREF_NULL")]
    [TestCase(1u, 0xcu, "TEE_GEN_CAP_GP")]
    public void CreatePartition_UnfitTee_SaysWhyAndClosesIt(uint implementation, uint capabilities, string reason)
    {
        using FakeTeeDevice device = new() { Version =
            new TeeVersionData { ImplementationId = implementation, GeneralCapabilities = capabilities } };
        using LinuxTeeBackend backend = new(new LinuxTeeOptions(), _ => device);

        Assert.That(() => backend.CreatePartition(VirtualMachine(TeeAccess.All)),
            Throws.InstanceOf<TeeUnavailableException>().With.Message.Contains(reason));
        Assert.That(device.IsDisposed, Is.True);
    }

    [Test]
    public void CreatePartition_BackendDisposed_Throws()
    {
        LinuxTeeBackend backend = new();
        backend.Dispose();

        Assert.That(() => backend.CreatePartition(VirtualMachine(TeeAccess.All)),
            Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public void Constructor_OptionOutOfRange_ThrowsWithTheOptionAndWhatWasFound() =>
        Assert.That(() => new LinuxTeeBackend(new LinuxTeeOptions { MaximumRegistrations = -3 }),
            Throws.InstanceOf<ArgumentException>().With.Message.Contains("-3")
                .And.Message.Contains("LinuxTeeOptions.MaximumRegistrations"));

    [TestCase("4.10 (0123456789abcdef)\n", 4u, 10u, 0x0123_4567_89ab_cdefUL)]
    [TestCase("4.5\n", 4u, 5u, 0UL)]
    public void Revision_KernelShowsIt_IsThatOfTheHost(string text, uint major, uint minor, ulong build)
    {
        Device.Revision = text;

        Assert.That(CreatePartition(new LinuxTeeOptions(), TeeAccess.All).Revision,
            Is.EqualTo(new OpTeeRevision(major, minor, build)));
    }

    [TestCase(null)]
    [TestCase("")]
    [TestCase("4")]
    [TestCase("4.x")]
    [TestCase("-4.5")]
    [TestCase("4 5.0")]
    [TestCase("4.5 0123")]
    [TestCase("4.5 (xyz)")]
    public void Revision_KernelShowsNone_IsNull(string? text)
    {
        Device.Revision = text;

        Assert.That(CreatePartition(new LinuxTeeOptions(), TeeAccess.All).Revision, Is.Null);
    }

    [TestCase("")]
    [TestCase("/dev/tee0\0/dev/tee1")]
    public void Constructor_DevicePathThatIsNone_Throws(string path) =>
        Assert.That(() => new LinuxTeeBackend(new LinuxTeeOptions { DevicePath = path }), Throws.ArgumentException);

    [Test]
    public void DefaultAccess_Always_IsNone()
    {
        using LinuxTeeBackend backend = new();

        Assert.That(backend.DefaultAccess, Is.SameAs(TeeAccess.None));
    }

    [Test]
    public void Devices_HostAnnouncesSome_AreThoseTheVmMayReach()
    {
        Device.OnOpenSession = _ => TeeReturnCode.Success;
        Device.OnInvoke = AnswerEnumeration;

        LinuxTeePartition partition =
            CreatePartition(new LinuxTeeOptions(), TeeAccess.Only(RandomNumbers, Attestation));

        using (Assert.EnterMultipleScope())
        {
            Assert.That(partition.Devices,
                Is.EqualTo([new TeeDevice(RandomNumbers), new TeeDevice(Attestation, TeeDeviceDependency.Supplicant)]));
            Assert.That(Device.Closings, Has.Count.EqualTo(1));
            Assert.That(Device.LiveRegistrations, Is.Zero);
        }
    }

    [Test]
    public void Devices_HostHasNoEnumeration_IsNull()
    {
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Partition.Devices, Is.Null);
            Assert.That(Log.EventIds, Does.Contain(2201));
        }
    }

    [Test]
    public void Devices_EnumerationFails_AreNoneAndLogged()
    {
        Device.OnOpenSession = _ => TeeReturnCode.Success;
        Device.OnInvoke = (ref argument) => argument.ReturnCode = (uint)TeeReturnCode.Generic;

        LinuxTeePartition partition = CreatePartition(new LinuxTeeOptions(), TeeAccess.All);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(partition.Devices, Is.Empty);
            Assert.That(Log.EventIds, Does.Contain(2202));
        }
    }

    [Test]
    public async Task Dispose_BuffersLeft_IsLoggedAndFileClosed()
    {
        SharedBuffer buffer = Buffer(Memory, 0, Page, Start);
        _ = await Partition.RegisterMemoryAsync(buffer);
        await Partition.DisposeAsync();

        using (Assert.EnterMultipleScope())
        {
            Assert.That(Log.EventIds, Does.Contain(2209));
            Assert.That(Device.IsDisposed, Is.True);
        }

        await Partition.UnregisterMemoryAsync(buffer);
    }

    // PTA_CMD_GET_DEVICES lists two devices, PTA_CMD_GET_DEVICES_SUPP another one.
    private void AnswerEnumeration(ref TeeInvokeArgument argument)
    {
        Guid[] devices = argument.Function == 0 ? [RandomNumbers, Application] : [Attestation];
        ref TeeIoctlParameter parameter = ref argument.Parameters[0];
        ulong size = (ulong)devices.Length * 16;
        if (parameter.C == ulong.MaxValue || parameter.B < size)
        {
            argument.ReturnCode = (uint)TeeReturnCode.ShortBuffer;
        }
        else
        {
            devices.SelectMany(device => device.ToByteArray(bigEndian: true)).ToArray()
                .CopyTo(Device.MemoryOf(in parameter));
        }

        parameter.B = size;
    }
}
