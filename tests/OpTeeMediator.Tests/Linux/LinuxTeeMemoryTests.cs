using OpTeeMediator.Backends;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.LinuxTee;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Tests.Linux;

/// <summary>The host's TEE as a backend, over a driver that the tests provide. Memory references: registered, copied,
/// temporary, NULL, and how much of them.</summary>
[TestFixture]
internal sealed class LinuxTeeMemoryTests : LinuxTeeFixture
{
    [Test]
    public async Task InvokeCommand_ContiguousBuffer_TeeWritesTheGuestsPages()
    {
        Device.OnInvoke = Device.FillFirst;
        SharedBuffer buffer = Buffer(Memory, 0x234, 2 * Page, Start + Page, Start + (2 * Page), Start + (3 * Page));
        TeeRequest request = await RequestAsync(1);
        Assert.That(await Partition.RegisterMemoryAsync(buffer), Is.EqualTo(TeeReturnCode.Success));
        request.WritableParameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryOutput, buffer, 0x10, 0x1800);

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
            Assert.That(Log.EventIds, Does.Not.Contain(2206));
        }
    }

    [Test]
    public async Task InvokeCommand_ScatteredBuffer_TeeWritesTheGuestsPages()
    {
        Device.OnInvoke = Device.FillFirst;
        SharedBuffer buffer =
            Buffer(Memory, 0xffe, Page + 4, Start + (9 * Page), Start + (2 * Page), Start + (5 * Page));
        TeeRequest request = await RequestAsync(1);
        Assert.That(await Partition.RegisterMemoryAsync(buffer), Is.EqualTo(TeeReturnCode.Success));
        request.WritableParameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryInOut, buffer, 0, Page + 4);

        TeeResult result = await request.Session!.InvokeCommandAsync(request);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(result.IsSuccess, Is.True);
            Assert.That(GuestBytes(Start + (9 * Page) + 0xffd, 3), Is.EqualTo((byte[])[0, 0xa5, 0xa5]));
            Assert.That(GuestBytes(Start + (2 * Page), (int)Page), Is.All.EqualTo(0xa5));
            Assert.That(GuestBytes(Start + (5 * Page), 3), Is.EqualTo((byte[])[0xa5, 0xa5, 0]));
            Assert.That(Log.EventIds, Does.Not.Contain(2206));
        }
    }

    // Without a file, pages of the VMM's memory that follow each other are shared, and scattered ones are copied.
    [TestCase(true, false)]
    [TestCase(false, true)]
    public async Task InvokeCommand_MemoryOfTheVmmWithoutAFile_TeeWritesTheGuestsPages(bool isContiguous, bool isCopied)
    {
        Device.OnInvoke = Device.FillFirst;
        MappedMemoryRegion region = Memory.Regions[0];
        using MappedGuestMemory memory =
            MappedGuestMemory.Create(new MappedMemoryRegion(region.Range, region.HostAddress));
        ulong second = Start + ((isContiguous ? 10ul : 2ul) * Page);
        SharedBuffer buffer = Buffer(memory, 0, 2 * Page, Start + (9 * Page), second);
        TeeRequest request = await RequestAsync(1);
        Assert.That(await Partition.RegisterMemoryAsync(buffer), Is.EqualTo(TeeReturnCode.Success));
        request.WritableParameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryInOut, buffer, 0, 2 * Page);

        TeeResult result = await request.Session!.InvokeCommandAsync(request);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(result.IsSuccess, Is.True);
            Assert.That(GuestBytes(Start + (9 * Page), (int)Page), Is.All.EqualTo(0xa5));
            Assert.That(GuestBytes(second, (int)Page), Is.All.EqualTo(0xa5));
            Assert.That(Log.EventIds.Contains(2206), Is.EqualTo(isCopied));
        }
    }

    // The kernel refuses a registration of size 0, and OP-TEE takes one at an offset.
    [Test]
    public async Task RegisterMemory_Size0_IsNoRegistrationAndANullReference()
    {
        ulong seen = 0;
        Device.OnInvoke = (ref argument) => seen = argument.Parameters[0].C;
        SharedBuffer buffer = Buffer(Memory, 0x40, 0, Start + (2 * Page));
        TeeRequest request = await RequestAsync(1);

        Assert.That(await Partition.RegisterMemoryAsync(buffer), Is.EqualTo(TeeReturnCode.Success));
        request.WritableParameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryInput, buffer, 0, 0);
        Assert.That((await request.Session!.InvokeCommandAsync(request)).IsSuccess);
        await Partition.UnregisterMemoryAsync(buffer);

        Assert.That(seen, Is.EqualTo(TeeIoctl.NullReference));
    }

    [Test]
    public async Task RegisterMemory_ScatteredBuffer_GuestsLaterWritesAreSeenByTheTee()
    {
        byte seen = 0;
        Device.OnInvoke = (ref argument) => seen = Device.MemoryOf(in argument.Parameters[0])[(int)Page + 1];
        SharedBuffer buffer = Buffer(Memory, 0, 2 * Page, Start + (9 * Page), Start + (2 * Page));
        TeeRequest request = await RequestAsync(1);
        _ = await Partition.RegisterMemoryAsync(buffer);
        request.WritableParameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryInput, buffer, 0, 2 * Page);

        Assert.That(Memory.TryWrite(Start + (2 * Page) + 1, (byte)0x3c), Is.True);
        _ = await request.Session!.InvokeCommandAsync(request);

        Assert.That(seen, Is.EqualTo(0x3c));
    }

    [Test]
    [NonParallelizable]
    public async Task RegisterMemory_ScatteredBuffer_LeavesNoMappingBehind()
    {
        // Counts in the whole process: no other test may run, and no finalizer of an earlier one.
        GC.Collect();
        GC.WaitForPendingFinalizers();
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
            Assert.That(Device.LiveRegistrations, Is.Zero);
            Assert.That(buffer.BackendState, Is.Null);
        }
    }

    [TestCase(TeeParameterKind.MemoryInput, 0x11, 0x00)]
    [TestCase(TeeParameterKind.MemoryOutput, 0x00, 0xa5)]
    [TestCase(TeeParameterKind.MemoryInOut, 0x11, 0xa5)]
    public async Task InvokeCommand_MemoryWithoutMappingOrFile_IsCopiedByDirection(
        TeeParameterKind kind, byte expectedInTee, byte expectedInGuest)
    {
        byte seen = 0xff;
        Device.OnInvoke = (ref argument) =>
        {
            seen = Device.MemoryOf(in argument.Parameters[0])[0];
            Device.FillFirst(ref argument);
        };
        SharedBuffer buffer = Buffer(new CopyOnlyGuestMemory(Memory), 8, 0x100, Start);
        TeeRequest request = await RequestAsync(1);
        _ = await Partition.RegisterMemoryAsync(buffer);
        Assert.That(Memory.TryWrite(Start + 8 + 0x20, (byte)0x11), Is.True);
        request.WritableParameters[0] = TeeParameter.Reference(kind, buffer, 0x20, 0x40);

        _ = await request.Session!.InvokeCommandAsync(request);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(seen, Is.EqualTo(expectedInTee));
            Assert.That(GuestBytes(Start + 8 + 0x21, 0x3f), Is.All.EqualTo(expectedInGuest));
            Assert.That(GuestBytes(Start + 8 + 0x60, 8), Is.All.Zero);
            Assert.That(Log.EventIds, Does.Contain(2206));
        }
    }

    [Test]
    public async Task InvokeCommand_PiecesSmallerThanGranule_AreCopied()
    {
        Device.OnInvoke = Device.FillFirst;
        SharedBuffer buffer =
            Buffer(new CoarseGuestMemory(Memory, 0x1_0000), 0, 2 * Page, Start + (9 * Page), Start + (2 * Page));
        TeeRequest request = await RequestAsync(1);
        Assert.That(await Partition.RegisterMemoryAsync(buffer), Is.EqualTo(TeeReturnCode.Success));
        request.WritableParameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryOutput, buffer, 0, 2 * Page);

        _ = await request.Session!.InvokeCommandAsync(request);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(GuestBytes(Start + (9 * Page), (int)Page), Is.All.EqualTo(0xa5));
            Assert.That(GuestBytes(Start + (2 * Page), (int)Page), Is.All.EqualTo(0xa5));
            Assert.That(Log.EventIds, Does.Contain(2206));
        }
    }

    [Test]
    public async Task RegisterMemory_OnePieceWithinCoarseGranules_IsNotCopied()
    {
        SharedBuffer buffer = Buffer(new CoarseGuestMemory(Memory, 0x1_0000), 0x10, 2 * Page, Start + (15 * Page),
            Start + (16 * Page), Start + (17 * Page));

        Assert.That(await Partition.RegisterMemoryAsync(buffer), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(Log.EventIds, Does.Not.Contain(2206));
        await Partition.UnregisterMemoryAsync(buffer);
    }

    [Test]
    public async Task RegisterMemory_KernelCannotPinThePages_IsCopied()
    {
        nint guest = Memory.Regions[0].HostAddress;
        Device.RegisterError = address => address >= guest && address < guest + (1 << 20) ? Errno.EFAULT : 0;
        SharedBuffer buffer = Buffer(Memory, 0, Page, Start);

        Assert.That(await Partition.RegisterMemoryAsync(buffer), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(Log.EventIds, Does.Contain(2206));
        await Partition.UnregisterMemoryAsync(buffer);
    }

    [Test]
    public async Task InvokeCommand_ShortBuffer_SizeComesBackAndNothingIsCopied()
    {
        Device.OnInvoke = (ref argument) =>
        {
            Device.FillFirst(ref argument);
            argument.ReturnCode = (uint)TeeReturnCode.ShortBuffer;
            argument.Parameters[0].B = 0x5000;
        };
        SharedBuffer buffer = Buffer(new CopyOnlyGuestMemory(Memory), 0, 0x100, Start);
        TeeRequest request = await RequestAsync(1);
        _ = await Partition.RegisterMemoryAsync(buffer);
        request.WritableParameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryOutput, buffer, 0, 0x100);

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
        Device.OnInvoke = (ref argument) =>
        {
            Device.FillFirst(ref argument);
            argument.Parameters[0].B = 3;
        };
        SharedBuffer buffer = Buffer(new CopyOnlyGuestMemory(Memory), 0, 0x100, Start);
        TeeRequest request = await RequestAsync(1);
        _ = await Partition.RegisterMemoryAsync(buffer);
        request.WritableParameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryOutput, buffer, 0, 0x100);

        _ = await request.Session!.InvokeCommandAsync(request);

        Assert.That(GuestBytes(Start, 4), Is.EqualTo((byte[])[0xa5, 0xa5, 0xa5, 0]));
    }

    [Test]
    public async Task InvokeCommand_NullReference_IsNullThereAndItsSizeComesBack()
    {
        Device.OnInvoke = (ref argument) =>
        {
            argument.ReturnCode = (uint)TeeReturnCode.ShortBuffer;
            argument.Parameters[0].B = 48;
        };
        TeeRequest request = await RequestAsync(1);
        request.WritableParameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryOutput, null, 0, 0);

        _ = await request.Session!.InvokeCommandAsync(request);

        TeeIoctlParameter there = Device.Invocations.Last().Parameters[0];
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
        Device.OnInvoke = (ref argument) =>
        {
            during = Device.LiveRegistrations;
            Device.FillFirst(ref argument);
        };
        SharedBuffer buffer = Buffer(Memory, 0, Page, Start + Page);
        TeeRequest request = await RequestAsync(1);
        request.WritableParameters[0] = TeeParameter.Reference(TeeParameterKind.MemoryOutput, buffer, 4, 8);

        _ = await request.Session!.InvokeCommandAsync(request);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(during, Is.EqualTo(1));
            Assert.That(Device.LiveRegistrations, Is.Zero);
            Assert.That(GuestBytes(Start + Page + 4, 8), Is.All.EqualTo(0xa5));
            Assert.That(buffer.BackendState, Is.Null);
        }
    }

    [Test]
    public async Task InvokeCommand_SecondTemporaryBufferRefused_FirstIsReleased()
    {
        int registrations = 0;
        Device.RegisterError = _ => registrations++ == 0 ? 0 : Errno.ENOMEM;
        TeeRequest request = await RequestAsync(1);
        request.WritableParameters[0] =
            TeeParameter.Reference(TeeParameterKind.MemoryInput, Buffer(Memory, 0, Page, Start), 0, 8);
        request.WritableParameters[1] =
            TeeParameter.Reference(TeeParameterKind.MemoryInput, Buffer(Memory, 0, Page, Start), 0, 8);

        TeeResult result = await request.Session!.InvokeCommandAsync(request);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.OutOfMemory, TeeOrigin.Communication)));
            Assert.That(Device.LiveRegistrations, Is.Zero);
            Assert.That(Device.Invocations, Is.Empty);
        }
    }

    [Test]
    public async Task RegisterMemory_BeyondTheNumber_IsRefusedUntilOneGoes()
    {
        LinuxTeePartition partition = CreatePartition(new LinuxTeeOptions { MaximumRegistrations = 2 }, TeeAccess.All);
        SharedBuffer[] buffers =
            [.. Enumerable.Range(0, 3).Select(index => Buffer(Memory, 0, Page, Start + ((ulong)index * Page)))];
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
            Assert.That(Log.EventIds, Does.Contain(2204));
        }
    }

    [TestCase(0UL, 2 * Page, TeeReturnCode.Success)]
    [TestCase(1UL, 2 * Page, TeeReturnCode.OutOfMemory)]
    [TestCase(1UL, (2 * Page) - 1, TeeReturnCode.Success)]
    [TestCase(0UL, (2 * Page) + 1, TeeReturnCode.OutOfMemory)]
    public async Task RegisterMemory_BeyondTheBytes_IsRefusedCountingWholePages(
        ulong pageOffset, ulong size, TeeReturnCode expected)
    {
        LinuxTeePartition partition =
            CreatePartition(new LinuxTeeOptions { MaximumSharedBytes = 2 * (long)Page }, TeeAccess.All);

        Assert.That(await partition.RegisterMemoryAsync(
            Buffer(Memory, pageOffset, size, Start, Start + Page, Start + (2 * Page))), Is.EqualTo(expected));
    }

    [TestCase(Errno.ENOMEM)]
    [TestCase(Errno.EINVAL)]
    [TestCase(Errno.EMFILE)]
    public async Task RegisterMemory_TeeHasNoRoom_IsAnOrdinaryAnswerAndBudgetIsKept(int error)
    {
        Device.RegisterError = _ => error;

        Assert.That(await Partition.RegisterMemoryAsync(Buffer(Memory, 0, Page, Start)),
            Is.EqualTo(TeeReturnCode.OutOfMemory));
        await Partition.DisposeAsync();
        Assert.That(Log.EventIds, Does.Contain(2205).And.Not.Contain(2209));
    }

    private static int CountMappings() =>
        File.ReadLines("/proc/self/maps").Count(line => line.Contains("memfd:guest-ram", StringComparison.Ordinal));
}
