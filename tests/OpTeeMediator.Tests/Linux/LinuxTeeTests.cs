using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Backends;
using OpTeeMediator.Linux;
using OpTeeMediator.Linux.Interop;
using OpTeeMediator.Linux.LinuxTee;
using OpTeeMediator.Memory;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Tests.Linux;

/// <summary>The host's TEE as a backend, over a driver that the tests provide.</summary>
[TestFixture]
public sealed class LinuxTeeTests
{
    private const ulong Start = 0x4000_0000;
    private const ulong Page = 0x1000;

    private static readonly Guid Application = new("8aaaf200-2450-11e4-abe2-0002a5d5c51b");
    private static readonly Guid Enumeration = new("7011a688-ddde-4053-a5a9-7b3c4ddf13b8");
    private static readonly Guid RandomNumbers = new("ab7a617c-b8e7-4d8f-8301-d09b61036b64");
    private static readonly Guid Attestation = new("39800861-182a-4720-9b67-2bcd622bc0b5");

    private FakeTeeDevice _device = new();
    private ListLoggerFactory _log = new();
    private MemfdGuestMemory? _memory;
    private LinuxTeePartition? _partition;

    private LinuxTeePartition Partition => _partition!;

    private MemfdGuestMemory Memory => _memory!;

    [SetUp]
    public void CreateVm()
    {
        _device = new FakeTeeDevice { OnOpenSession = argument => IsEnumeration(argument) ? TeeReturnCode.ItemNotFound : TeeReturnCode.Success };
        _log = new ListLoggerFactory();
        _memory = MemfdGuestMemory.Create(new GuestRange(Start, 1 << 20));
        _partition = CreatePartition(new LinuxTeeOptions(), TeeAccess.All);
    }

    [TearDown]
    public async Task DestroyVm()
    {
        await _partition!.DisposeAsync();
        _memory?.Dispose();
        _device.Dispose();
        _log.Dispose();
    }

    [Test]
    public void CreatePartition_NoDevice_SaysWhatTheHostLacks()
    {
        using LinuxTeeBackend backend = new(new LinuxTeeOptions { DevicePath = "/dev/no-tee-here" });

        Assert.That(
            () => backend.CreatePartition(VirtualMachine(TeeAccess.All)),
            Throws.InstanceOf<TeeUnavailableException>().With.Message.Contains("/dev/no-tee-here").And.Message.Contains("ENOENT").And.Message.Contains("optee"));
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
        Assert.That(TeeSupport.OpenFailure("/dev/tee0", error).Message, Does.Contain(Errno.NameOf(error)).And.Contain(remedy));

    [TestCase(2u, 0xdu, "another TEE")]
    [TestCase(1u, 0xfu, "tee-supplicant")]
    [TestCase(1u, 0x9u, "TEE_GEN_CAP_REG_MEM")]
    [TestCase(1u, 0x5u, "TEE_GEN_CAP_MEMREF_NULL")]
    [TestCase(1u, 0xcu, "TEE_GEN_CAP_GP")]
    public void CreatePartition_UnfitTee_SaysWhyAndClosesIt(uint implementation, uint capabilities, string reason)
    {
        using FakeTeeDevice device = new() { Version = new TeeVersionData { ImplementationId = implementation, GeneralCapabilities = capabilities } };
        using LinuxTeeBackend backend = new(new LinuxTeeOptions(), _ => device);

        Assert.That(() => backend.CreatePartition(VirtualMachine(TeeAccess.All)), Throws.InstanceOf<TeeUnavailableException>().With.Message.Contains(reason));
        Assert.That(device.IsDisposed, Is.True);
    }

    [Test]
    public void CreatePartition_BackendDisposed_Throws()
    {
        LinuxTeeBackend backend = new();
        backend.Dispose();

        Assert.That(() => backend.CreatePartition(VirtualMachine(TeeAccess.All)), Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public void Constructor_OptionOutOfRange_ThrowsWithWhatWasFound() =>
        Assert.That(() => new LinuxTeeBackend(new LinuxTeeOptions { MaximumRegistrations = -3 }), Throws.ArgumentException.With.Message.Contains("-3"));

    [Test]
    public void DefaultAccess_IsNone()
    {
        using LinuxTeeBackend backend = new();

        Assert.That(backend.DefaultAccess, Is.SameAs(TeeAccess.None));
    }

    [Test]
    public void Devices_HostAnnouncesSome_AreThoseTheVmMayReach()
    {
        _device.OnOpenSession = _ => TeeReturnCode.Success;
        _device.OnInvoke = AnswerEnumeration;

        LinuxTeePartition partition = CreatePartition(new LinuxTeeOptions(), TeeAccess.Only(RandomNumbers, Attestation));

        using (Assert.EnterMultipleScope())
        {
            Assert.That(partition.Devices, Is.EqualTo([new TeeDevice(RandomNumbers), new TeeDevice(Attestation, TeeDeviceDependency.Supplicant)]));
            Assert.That(_device.Closings, Has.Count.EqualTo(1));
            Assert.That(_device.LiveRegistrations, Is.Zero);
        }
    }

    [Test]
    public void Devices_HostHasNoEnumeration_IsNull()
    {
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Partition.Devices, Is.Null);
            Assert.That(_log.EventIds, Does.Contain(2201));
        }
    }

    [Test]
    public void Devices_EnumerationFails_AreNoneAndLogged()
    {
        _device.OnOpenSession = _ => TeeReturnCode.Success;
        _device.OnInvoke = (ref argument) => argument.ReturnCode = (uint)TeeReturnCode.Generic;

        LinuxTeePartition partition = CreatePartition(new LinuxTeeOptions(), TeeAccess.All);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(partition.Devices, Is.Empty);
            Assert.That(_log.EventIds, Does.Contain(2202));
        }
    }

    [Test]
    public async Task OpenSession_Application_IsNamedInOctetsOfItsText()
    {
        ITeeSession session = await OpenAsync();

        TeeOpenSessionArgument argument = _device.Openings.Last();
        byte[] octets = ((ReadOnlySpan<byte>)argument.Application).ToArray();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Convert.ToHexStringLower(octets), Is.EqualTo("8aaaf200245011e4abe20002a5d5c51b"));
            Assert.That(session.Execution, Is.EqualTo(TeeExecution.Worker));
            Assert.That(Partition.UsesWorkers, Is.True);
        }
    }

    [TestCase(LinuxTeeLogin.Public, TeeLogin.Public, TeeLogin.Public)]
    [TestCase(LinuxTeeLogin.Public, TeeLogin.User, TeeLogin.Public)]
    [TestCase(LinuxTeeLogin.Public, TeeLogin.GroupApplication, TeeLogin.Public)]
    [TestCase(LinuxTeeLogin.PublicForKernelToo, TeeLogin.Kernel, TeeLogin.Public)]
    [TestCase(LinuxTeeLogin.VmmUser, TeeLogin.Public, TeeLogin.Public)]
    [TestCase(LinuxTeeLogin.VmmUser, TeeLogin.Application, TeeLogin.User)]
    public async Task OpenSession_LoginPolicy_IsWhatTheHostSees(LinuxTeeLogin policy, TeeLogin claimed, TeeLogin expected)
    {
        LinuxTeePartition partition = CreatePartition(new LinuxTeeOptions { Login = policy }, TeeAccess.All);

        TeeResult result = await partition.OpenSessionAsync(OpenRequest(claimed));

        TeeOpenSessionArgument argument = _device.Openings.Last();
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
        int openings = _device.Openings.Count;

        TeeResult result = await partition.OpenSessionAsync(OpenRequest((TeeLogin)claimed));

        using (Assert.EnterMultipleScope())
        {
            Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.AccessDenied, TeeOrigin.Communication)));
            Assert.That(_device.Openings, Has.Count.EqualTo(openings));
        }
    }

    [Test]
    public async Task OpenSession_ApplicationNotListed_DoesNotExist()
    {
        LinuxTeePartition partition = CreatePartition(new LinuxTeeOptions(), TeeAccess.Only(RandomNumbers));
        int openings = _device.Openings.Count;

        TeeResult result = await partition.OpenSessionAsync(OpenRequest(TeeLogin.Public));

        using (Assert.EnterMultipleScope())
        {
            Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.ItemNotFound, TeeOrigin.Tee)));
            Assert.That(_device.Openings, Has.Count.EqualTo(openings));
        }
    }

    [Test]
    public async Task OpenSession_TeeRefuses_CodeAndOriginArePassedOn()
    {
        _device.OnOpenSession = _ => TeeReturnCode.AccessConflict;
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

        Assert.That(_device.Closings.Last(), Is.EqualTo(102));
    }

    [Test]
    public async Task InvokeCommand_Values_GoThereAndBackByDirection()
    {
        _device.OnInvoke = (ref argument) =>
        {
            for (int index = 0; index < TeeRequest.ParameterCount; index++)
            {
                argument.Parameters[index].A += 0x100;
                argument.Parameters[index].B += 0x200;
            }
        };
        TeeRequest request = await RequestAsync(7);
        request.Parameters[0] = TeeParameter.Value(TeeParameterKind.ValueInput, 1, 2);
        request.Parameters[1] = TeeParameter.Value(TeeParameterKind.ValueOutput, 3, 4);
        request.Parameters[2] = TeeParameter.Value(TeeParameterKind.ValueInOut, 5, 6);

        TeeResult result = await request.Session!.InvokeCommandAsync(request);

        TeeInvokeArgument there = _device.Invocations.Last();
        (ulong, ulong)[] sent = [(there.Parameters[0].A, there.Parameters[0].B), (there.Parameters[1].A, there.Parameters[1].B), (there.Parameters[2].A, there.Parameters[2].B)];
        (ulong, ulong)[] received = [.. request.Parameters.ToArray().Take(3).Select(parameter => (parameter.A, parameter.B))];
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

    [Test]
    public async Task InvokeCommand_ContiguousBuffer_TeeWritesTheGuestsPages()
    {
        _device.OnInvoke = _device.FillFirst;
        SharedBuffer buffer = Buffer(Memory, 0x234, 2 * Page, Start + Page, Start + (2 * Page), Start + (3 * Page));
        TeeRequest request = await RequestAsync(1);
        Assert.That(await Partition.RegisterMemoryAsync(buffer), Is.EqualTo(TeeReturnCode.Success));
        request.Parameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryOutput, buffer, 0x10, 0x1800);

        TeeResult result = await request.Session!.InvokeCommandAsync(request);

        byte[] guest = new byte[0x1804];
        Assert.That(Memory.TryRead(Start + Page + 0x244 - 2, guest), Is.True);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(result.IsSuccess, Is.True);
            Assert.That(guest[..2], Is.All.Zero);
            Assert.That(guest[2..0x1802], Is.All.EqualTo(0xa5));
            Assert.That(guest[0x1802..], Is.All.Zero);
            Assert.That(request.Parameters[0].Size, Is.EqualTo(0x1800));
            Assert.That(_log.EventIds, Does.Not.Contain(2206));
        }
    }

    [Test]
    public async Task InvokeCommand_ScatteredBuffer_TeeWritesTheGuestsPages()
    {
        _device.OnInvoke = _device.FillFirst;
        SharedBuffer buffer = Buffer(Memory, 0xffe, Page + 4, Start + (9 * Page), Start + (2 * Page), Start + (5 * Page));
        TeeRequest request = await RequestAsync(1);
        Assert.That(await Partition.RegisterMemoryAsync(buffer), Is.EqualTo(TeeReturnCode.Success));
        request.Parameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryInOut, buffer, 0, Page + 4);

        TeeResult result = await request.Session!.InvokeCommandAsync(request);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(result.IsSuccess, Is.True);
            Assert.That(GuestBytes(Start + (9 * Page) + 0xffd, 3), Is.EqualTo((byte[])[0, 0xa5, 0xa5]));
            Assert.That(GuestBytes(Start + (2 * Page), (int)Page), Is.All.EqualTo(0xa5));
            Assert.That(GuestBytes(Start + (5 * Page), 3), Is.EqualTo((byte[])[0xa5, 0xa5, 0]));
            Assert.That(_log.EventIds, Does.Not.Contain(2206));
        }
    }

    [Test]
    public async Task RegisterMemory_ScatteredBuffer_GuestsLaterWritesAreSeenByTheTee()
    {
        byte seen = 0;
        _device.OnInvoke = (ref argument) => seen = _device.MemoryOf(in argument.Parameters[0])[(int)Page + 1];
        SharedBuffer buffer = Buffer(Memory, 0, 2 * Page, Start + (9 * Page), Start + (2 * Page));
        TeeRequest request = await RequestAsync(1);
        _ = await Partition.RegisterMemoryAsync(buffer);
        request.Parameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryInput, buffer, 0, 2 * Page);

        Assert.That(Memory.TryWrite(Start + (2 * Page) + 1, (byte)0x3c), Is.True);
        _ = await request.Session!.InvokeCommandAsync(request);

        Assert.That(seen, Is.EqualTo(0x3c));
    }

    [Test]
    [NonParallelizable]
    public async Task RegisterMemory_ScatteredBuffer_LeavesNoMappingBehind()
    {
        // Counts in the whole process: no other test may run.
        int before = CountMappings();
        SharedBuffer buffer = Buffer(Memory, 0, 3 * Page, Start + (9 * Page), Start + (2 * Page), Start);
        _ = await Partition.RegisterMemoryAsync(buffer);
        int during = CountMappings();
        await Partition.UnregisterMemoryAsync(buffer);

        using (Assert.EnterMultipleScope())
        {
            // The fake keeps three; the product's own three are gone.
            Assert.That(during, Is.EqualTo(before + 3));
            Assert.That(CountMappings(), Is.EqualTo(before));
            Assert.That(_device.LiveRegistrations, Is.Zero);
            Assert.That(buffer.BackendState, Is.Null);
        }
    }

    [TestCase(TeeParameterKind.MemoryInput, 0x11, 0x00)]
    [TestCase(TeeParameterKind.MemoryOutput, 0x00, 0xa5)]
    [TestCase(TeeParameterKind.MemoryInOut, 0x11, 0xa5)]
    public async Task InvokeCommand_MemoryWithoutMappingOrFile_IsCopiedByDirection(TeeParameterKind kind, byte expectedInTee, byte expectedInGuest)
    {
        byte seen = 0xff;
        _device.OnInvoke = (ref argument) =>
        {
            seen = _device.MemoryOf(in argument.Parameters[0])[0];
            _device.FillFirst(ref argument);
        };
        SharedBuffer buffer = Buffer(new CopyOnlyGuestMemory(Memory), 8, 0x100, Start);
        TeeRequest request = await RequestAsync(1);
        _ = await Partition.RegisterMemoryAsync(buffer);
        Assert.That(Memory.TryWrite(Start + 8 + 0x20, (byte)0x11), Is.True);
        request.Parameters[0] = TeeParameter.Reference(kind, buffer, 0x20, 0x40);

        _ = await request.Session!.InvokeCommandAsync(request);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(seen, Is.EqualTo(expectedInTee));
            Assert.That(GuestBytes(Start + 8 + 0x21, 0x3f), Is.All.EqualTo(expectedInGuest));
            Assert.That(GuestBytes(Start + 8 + 0x60, 8), Is.All.Zero);
            Assert.That(_log.EventIds, Does.Contain(2206));
        }
    }

    [Test]
    public async Task InvokeCommand_PiecesSmallerThanGranule_AreCopied()
    {
        _device.OnInvoke = _device.FillFirst;
        SharedBuffer buffer = Buffer(new CoarseGuestMemory(Memory, 0x1_0000), 0, 2 * Page, Start + (9 * Page), Start + (2 * Page));
        TeeRequest request = await RequestAsync(1);
        Assert.That(await Partition.RegisterMemoryAsync(buffer), Is.EqualTo(TeeReturnCode.Success));
        request.Parameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryOutput, buffer, 0, 2 * Page);

        _ = await request.Session!.InvokeCommandAsync(request);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(GuestBytes(Start + (9 * Page), (int)Page), Is.All.EqualTo(0xa5));
            Assert.That(GuestBytes(Start + (2 * Page), (int)Page), Is.All.EqualTo(0xa5));
            Assert.That(_log.EventIds, Does.Contain(2206));
        }
    }

    [Test]
    public async Task RegisterMemory_OnePieceWithinCoarseGranules_IsNotCopied()
    {
        SharedBuffer buffer = Buffer(new CoarseGuestMemory(Memory, 0x1_0000), 0x10, 2 * Page, Start + (15 * Page), Start + (16 * Page), Start + (17 * Page));

        Assert.That(await Partition.RegisterMemoryAsync(buffer), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(_log.EventIds, Does.Not.Contain(2206));
        await Partition.UnregisterMemoryAsync(buffer);
    }

    [Test]
    public async Task RegisterMemory_KernelCannotPinThePages_IsCopied()
    {
        nint guest = Memory.Regions[0].HostAddress;
        _device.RegisterError = address => address >= guest && address < guest + (1 << 20) ? Errno.EFAULT : 0;
        SharedBuffer buffer = Buffer(Memory, 0, Page, Start);

        Assert.That(await Partition.RegisterMemoryAsync(buffer), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(_log.EventIds, Does.Contain(2206));
        await Partition.UnregisterMemoryAsync(buffer);
    }

    [Test]
    public async Task InvokeCommand_ShortBuffer_SizeComesBackAndNothingIsCopied()
    {
        _device.OnInvoke = (ref argument) =>
        {
            _device.FillFirst(ref argument);
            argument.ReturnCode = (uint)TeeReturnCode.ShortBuffer;
            argument.Parameters[0].B = 0x5000;
        };
        SharedBuffer buffer = Buffer(new CopyOnlyGuestMemory(Memory), 0, 0x100, Start);
        TeeRequest request = await RequestAsync(1);
        _ = await Partition.RegisterMemoryAsync(buffer);
        request.Parameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryOutput, buffer, 0, 0x100);

        TeeResult result = await request.Session!.InvokeCommandAsync(request);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(result.Code, Is.EqualTo(TeeReturnCode.ShortBuffer));
            Assert.That(request.Parameters[0].Size, Is.EqualTo(0x5000));
            Assert.That(GuestBytes(Start, 0x100), Is.All.Zero);
        }
    }

    [Test]
    public async Task InvokeCommand_PartOfBufferWritten_OnlyThatPartIsCopied()
    {
        _device.OnInvoke = (ref argument) =>
        {
            _device.FillFirst(ref argument);
            argument.Parameters[0].B = 3;
        };
        SharedBuffer buffer = Buffer(new CopyOnlyGuestMemory(Memory), 0, 0x100, Start);
        TeeRequest request = await RequestAsync(1);
        _ = await Partition.RegisterMemoryAsync(buffer);
        request.Parameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryOutput, buffer, 0, 0x100);

        _ = await request.Session!.InvokeCommandAsync(request);

        Assert.That(GuestBytes(Start, 4), Is.EqualTo((byte[])[0xa5, 0xa5, 0xa5, 0]));
    }

    [Test]
    public async Task InvokeCommand_NullReference_IsNullThereAndItsSizeComesBack()
    {
        _device.OnInvoke = (ref argument) =>
        {
            argument.ReturnCode = (uint)TeeReturnCode.ShortBuffer;
            argument.Parameters[0].B = 48;
        };
        TeeRequest request = await RequestAsync(1);
        request.Parameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryOutput, null, 0, 0);

        _ = await request.Session!.InvokeCommandAsync(request);

        TeeIoctlParameter there = _device.Invocations.Last().Parameters[0];
        using (Assert.EnterMultipleScope())
        {
            Assert.That(there.C, Is.EqualTo(ulong.MaxValue));
            Assert.That(there.B, Is.Zero);
            Assert.That(request.Parameters[0].Size, Is.EqualTo(48));
        }
    }

    [Test]
    public async Task InvokeCommand_TemporaryBuffer_IsRegisteredForTheCallOnly()
    {
        int during = 0;
        _device.OnInvoke = (ref argument) =>
        {
            during = _device.LiveRegistrations;
            _device.FillFirst(ref argument);
        };
        SharedBuffer buffer = Buffer(Memory, 0, Page, Start + Page);
        TeeRequest request = await RequestAsync(1);
        request.Parameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryOutput, buffer, 4, 8);

        _ = await request.Session!.InvokeCommandAsync(request);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(during, Is.EqualTo(1));
            Assert.That(_device.LiveRegistrations, Is.Zero);
            Assert.That(GuestBytes(Start + Page + 4, 8), Is.All.EqualTo(0xa5));
            Assert.That(buffer.BackendState, Is.Null);
        }
    }

    [Test]
    public async Task InvokeCommand_SecondTemporaryBufferRefused_FirstIsReleased()
    {
        int registrations = 0;
        _device.RegisterError = _ => registrations++ == 0 ? 0 : Errno.ENOMEM;
        TeeRequest request = await RequestAsync(1);
        request.Parameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryInput, Buffer(Memory, 0, Page, Start), 0, 8);
        request.Parameters[1] = TeeParameter.Reference(TeeParameterKind.MemoryInput, Buffer(Memory, 0, Page, Start), 0, 8);

        TeeResult result = await request.Session!.InvokeCommandAsync(request);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.OutOfMemory, TeeOrigin.Communication)));
            Assert.That(_device.LiveRegistrations, Is.Zero);
            Assert.That(_device.Invocations, Is.Empty);
        }
    }

    [Test]
    public async Task RegisterMemory_BeyondTheNumber_IsRefusedUntilOneGoes()
    {
        LinuxTeePartition partition = CreatePartition(new LinuxTeeOptions { MaximumRegistrations = 2 }, TeeAccess.All);
        SharedBuffer[] buffers = [.. Enumerable.Range(0, 3).Select(index => Buffer(Memory, 0, Page, Start + ((ulong)index * Page)))];
        TeeReturnCode first = await partition.RegisterMemoryAsync(buffers[0]);
        TeeReturnCode second = await partition.RegisterMemoryAsync(buffers[1]);
        TeeReturnCode third = await partition.RegisterMemoryAsync(buffers[2]);
        await partition.UnregisterMemoryAsync(buffers[0]);
        TeeReturnCode again = await partition.RegisterMemoryAsync(buffers[2]);

        using (Assert.EnterMultipleScope())
        {
            Assert.That((first, second), Is.EqualTo((TeeReturnCode.Success, TeeReturnCode.Success)));
            Assert.That(third, Is.EqualTo(TeeReturnCode.OutOfMemory));
            Assert.That(again, Is.EqualTo(TeeReturnCode.Success));
            Assert.That(_log.EventIds, Does.Contain(2204));
        }
    }

    [TestCase(0UL, 2 * Page, TeeReturnCode.Success)]
    [TestCase(1UL, 2 * Page, TeeReturnCode.OutOfMemory)]
    [TestCase(1UL, (2 * Page) - 1, TeeReturnCode.Success)]
    [TestCase(0UL, (2 * Page) + 1, TeeReturnCode.OutOfMemory)]
    public async Task RegisterMemory_BeyondTheBytes_IsRefusedCountingWholePages(ulong pageOffset, ulong size, TeeReturnCode expected)
    {
        LinuxTeePartition partition = CreatePartition(new LinuxTeeOptions { MaximumSharedBytes = 2 * (long)Page }, TeeAccess.All);

        Assert.That(await partition.RegisterMemoryAsync(Buffer(Memory, pageOffset, size, Start, Start + Page, Start + (2 * Page))), Is.EqualTo(expected));
    }

    [TestCase(Errno.ENOMEM)]
    [TestCase(Errno.EINVAL)]
    [TestCase(Errno.EMFILE)]
    public async Task RegisterMemory_TeeHasNoRoom_IsAnOrdinaryAnswerAndBudgetIsKept(int error)
    {
        _device.RegisterError = _ => error;

        Assert.That(await Partition.RegisterMemoryAsync(Buffer(Memory, 0, Page, Start)), Is.EqualTo(TeeReturnCode.OutOfMemory));
        await Partition.DisposeAsync();
        Assert.That(_log.EventIds, Does.Contain(2205).And.Not.Contain(2209));
    }

    [Test]
    public async Task Dispose_BuffersLeft_IsLoggedAndFileClosed()
    {
        SharedBuffer buffer = Buffer(Memory, 0, Page, Start);
        _ = await Partition.RegisterMemoryAsync(buffer);
        await Partition.DisposeAsync();

        using (Assert.EnterMultipleScope())
        {
            Assert.That(_log.EventIds, Does.Contain(2209));
            Assert.That(_device.IsDisposed, Is.True);
        }

        await Partition.UnregisterMemoryAsync(buffer);
    }

    [TestCase(Errno.ENOMEM, TeeReturnCode.OutOfMemory, 2207)]
    [TestCase(Errno.EINVAL, TeeReturnCode.BadParameters, 2207)]
    [TestCase(Errno.EBUSY, TeeReturnCode.Busy, 2207)]
    [TestCase(Errno.EPERM, TeeReturnCode.AccessDenied, 2207)]
    [TestCase(Errno.EIO, TeeReturnCode.Communication, 2208)]
    [TestCase(Errno.EINTR, TeeReturnCode.Communication, 2208)]
    public async Task InvokeCommand_DriverFails_BecomesACodeOfTheWayThere(int error, TeeReturnCode expected, int eventId)
    {
        TeeRequest request = await RequestAsync(1);
        _device.InvokeError = error;

        TeeResult result = await request.Session!.InvokeCommandAsync(request);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(result, Is.EqualTo(new TeeResult(expected, TeeOrigin.Communication)));
            Assert.That(_log.EventIds.Last(), Is.EqualTo(eventId));
        }
    }

    [Test]
    public async Task Cancel_RunningCommand_IsToldToTheHostWithItsSessionAndId()
    {
        using ManualResetEventSlim inside = new();
        using ManualResetEventSlim cancelled = new();
        _device.OnInvoke = (ref argument) =>
        {
            inside.Set();
            Assert.That(cancelled.Wait(TimeSpan.FromSeconds(10)), Is.True);
            argument.ReturnCode = (uint)TeeReturnCode.Cancel;
        };
        _device.OnCancel = (_, _) => cancelled.Set();
        TeeRequest request = await RequestAsync(1);
        Task<TeeResult> running = Task.Run(() => request.Session!.InvokeCommandAsync(request).AsTask());
        Assert.That(inside.Wait(TimeSpan.FromSeconds(10)), Is.True);

        request.RequestCancellation();
        Partition.Cancel(request);

        TeeResult result = await running;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(result.Code, Is.EqualTo(TeeReturnCode.Cancel));
            Assert.That(_device.Cancellations.First(), Is.EqualTo((102u, _device.Invocations.Last().CancelId)));
        }
    }

    [Test]
    public async Task Cancel_HostDoesNotHearIt_IsRepeated()
    {
        using CountdownEvent told = new(3);
        using ManualResetEventSlim inside = new();
        _device.OnInvoke = (ref _) =>
        {
            inside.Set();
            Assert.That(told.Wait(TimeSpan.FromSeconds(10)), Is.True);
        };
        _device.OnCancel = (_, _) => _ = told.IsSet || told.Signal();
        TeeRequest request = await RequestAsync(1);
        Task<TeeResult> running = Task.Run(() => request.Session!.InvokeCommandAsync(request).AsTask());
        Assert.That(inside.Wait(TimeSpan.FromSeconds(10)), Is.True);

        Partition.Cancel(request);

        Assert.That((await running).IsSuccess, Is.True);
    }

    [Test]
    public async Task Cancel_HostTakesItsTime_ReturnsAtOnceAndTheCommandWaitsForIt()
    {
        using ManualResetEventSlim inside = new();
        using ManualResetEventSlim sending = new();
        using ManualResetEventSlim goOn = new();
        _device.OnInvoke = (ref _) =>
        {
            inside.Set();
            Assert.That(sending.Wait(TimeSpan.FromSeconds(10)), Is.True);
        };
        _device.OnCancel = (_, _) =>
        {
            sending.Set();
            Assert.That(goOn.Wait(TimeSpan.FromSeconds(10)), Is.True);
        };
        TeeRequest request = await RequestAsync(1);
        Task<TeeResult> running = Task.Run(() => request.Session!.InvokeCommandAsync(request).AsTask());
        Assert.That(inside.Wait(TimeSpan.FromSeconds(10)), Is.True);

        // Would never return if it waited for the host.
        Partition.Cancel(request);
        Assert.That(sending.Wait(TimeSpan.FromSeconds(10)), Is.True);
        bool isOver = running.Wait(TimeSpan.FromMilliseconds(50));
        goOn.Set();
        _ = await running;

        Assert.That(isOver, Is.False);
    }

    [Test]
    public async Task Cancel_CommandIsOver_DoesNothing()
    {
        TeeRequest request = await RequestAsync(1);
        _ = await request.Session!.InvokeCommandAsync(request);

        Partition.Cancel(request);
        await Task.Delay(30);

        Assert.That(_device.Cancellations, Is.Empty);
    }

    [Test]
    public async Task InvokeCommand_CancelledBeforeItBegins_IsNotBegun()
    {
        TeeRequest request = await RequestAsync(1);
        request.RequestCancellation();

        TeeResult result = await request.Session!.InvokeCommandAsync(request);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.Cancel, TeeOrigin.Communication)));
            Assert.That(_device.Invocations, Is.Empty);
        }
    }

    [Test]
    public async Task InvokeCommand_SteadyState_AllocatesNothing()
    {
        SharedBuffer buffer = Buffer(Memory, 0, 2 * Page, Start, Start + (7 * Page));
        TeeRequest request = await RequestAsync(1);
        _ = await Partition.RegisterMemoryAsync(buffer);
        request.Parameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryInOut, buffer, 0, Page);
        request.Parameters[1] = TeeParameter.Reference(TeeParameterKind.MemoryOutput, null, 0, 0);
        request.Parameters[2] = TeeParameter.Value(TeeParameterKind.ValueInOut, 1, 2);
        _device.IsRecording = false;
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

    private static bool IsEnumeration(in TeeOpenSessionArgument argument) => ((ReadOnlySpan<byte>)argument.Application).SequenceEqual(Enumeration.ToByteArray(bigEndian: true));

    private static TeeRequest OpenRequest(TeeLogin login) =>
        new() { Operation = TeeOperation.OpenSession, Application = Application, Client = new ClientIdentity(login, Guid.NewGuid()) };

    private static SharedBuffer Buffer(IGuestMemory memory, ulong pageOffset, ulong size, params ulong[] pages)
    {
        SharedBuffer buffer = new(memory);
        bool isAligned = GuestPages.Examine(pages, out bool isContiguous);
        Assert.That(isAligned);
        buffer.Pages.Set(pages[0], pages.Length, isContiguous ? null : pages);
        buffer.Describe(cookie: 0, pageOffset, size, isTemporary: false);
        return buffer;
    }

    private static int CountMappings() => File.ReadLines("/proc/self/maps").Count(line => line.Contains("memfd:guest-ram", StringComparison.Ordinal));

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

    private LinuxTeePartition CreatePartition(LinuxTeeOptions options, TeeAccess access)
    {
        using LinuxTeeBackend backend = new(options, _ => _device);
        return (LinuxTeePartition)backend.CreatePartition(VirtualMachine(access) with { LoggerFactory = _log });
    }

    private static TeeVirtualMachine VirtualMachine(TeeAccess access) => new("vm", access, 4, NullLoggerFactory.Instance);

    private async Task<ITeeSession> OpenAsync()
    {
        TeeRequest request = OpenRequest(TeeLogin.Public);
        Assert.That((await Partition.OpenSessionAsync(request)).IsSuccess, Is.True);
        return request.Session!;
    }

    private async Task<TeeRequest> RequestAsync(uint command) =>
        new() { Operation = TeeOperation.InvokeCommand, CommandId = command, Session = await OpenAsync() };

    private byte[] GuestBytes(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        Assert.That(Memory.TryRead(address, bytes), Is.True);
        return bytes;
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
            devices.SelectMany(device => device.ToByteArray(bigEndian: true)).ToArray().CopyTo(_device.MemoryOf(in parameter));
        }

        parameter.B = size;
    }
}
