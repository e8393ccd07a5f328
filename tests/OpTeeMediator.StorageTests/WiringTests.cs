using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageTests;

/// <summary>A software TEE with a store: where its applications reach it, and when handles end.</summary>
internal sealed class WiringTests
{
    private static readonly TrustedApplicationManifest Manifest = new(StorageBench.Application)
    {
        NeedsStorage = true,
        DeviceDependency = TeeDeviceDependency.None,
    };

    [Test]
    public async Task CreatePartition_NoStore_AnnouncesNoApplicationThatNeedsOne()
    {
        await using ITeePartition without = Partition(null);
        await using ITeePartition with = Partition(new MemoryStore());

        Assert.That(without.Devices, Is.Empty);
        Assert.That(with.Devices, Has.Count.EqualTo(1));
        Assert.That((await OpenAsync(without)).Result.Code, Is.EqualTo(TeeReturnCode.ItemNotFound));
    }

    // Create writes 1, each entry point adds its own byte.
    [Test]
    public async Task Storage_InEveryEntryPoint_IsTheApplications()
    {
        MemoryStore store = new();
        await using (ITeePartition partition = Partition(store))
        {
            ITeeSession session = (await OpenAsync(partition)).Session!;
            _ = await session.InvokeCommandAsync(new TeeRequest { Operation = TeeOperation.InvokeCommand });
            await session.CloseAsync(new TeeRequest { Operation = TeeOperation.CloseSession });
        }

        using StorageBench bench = new(store);
        Assert.That(bench.Get("journal", out byte[] journal), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(journal, Is.EqualTo("COICD"u8.ToArray()));
    }

    [TestCase(1u)]
    [TestCase(2u)]
    public async Task Handles_LeftOpenByAnInstanceThatEnds_AreReleased(uint command)
    {
        await using ITeePartition partition = Partition(new MemoryStore());
        ITeeSession first = (await OpenAsync(partition)).Session!;
        TeeRequest leave = new() { Operation = TeeOperation.InvokeCommand, CommandId = command };
        _ = await first.InvokeCommandAsync(leave);
        await first.CloseAsync(new TeeRequest { Operation = TeeOperation.CloseSession });

        ITeeSession second = (await OpenAsync(partition)).Session!;
        TeeResult result = await second.InvokeCommandAsync(
            new TeeRequest { Operation = TeeOperation.InvokeCommand, CommandId = 1 });

        Assert.That(result.Code, Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public async Task CreatePartition_VmHasNoIdentity_HasNoStorageAndSaysSo()
    {
        ListLogger log = new();
        TeeVirtualMachine anonymous = new("vm", TeeAccess.All, 4, log);
        await using ITeePartition partition = Partition(new MemoryStore(), anonymous);

        Assert.That(partition.Devices, Is.Empty);
        Assert.That((await OpenAsync(partition)).Result.Code, Is.EqualTo(TeeReturnCode.ItemNotFound));
        Assert.That(log.Messages, Has.One.Contains("OpTeeGuestOptions.Identity"));
    }

    [Test]
    public void Constructor_StoreWithoutRootKey_ThrowsWithThePropertyToSet()
    {
        SoftwareTeeOptions options = new() { Storage = new TrustedStorageOptions(new MemoryStore()) };

        Assert.That(() => new SoftwareTeeBackend(options), Throws.ArgumentException.With.Message.Contains("KeySource"));
    }

    private static TeeVirtualMachine VirtualMachine =>
        new("vm", TeeAccess.All, 4, NullLoggerFactory.Instance) { Identity = StorageBench.Machine };

    private static ITeePartition Partition(ITeeStore? store, TeeVirtualMachine? virtualMachine = null)
    {
        SoftwareTeeOptions options = new()
        {
            ProvideRandomNumberGenerator = false,
            KeySource = new FixedKey(1),
            Storage = store is null ? null : new TrustedStorageOptions(store),
        };
        return new SoftwareTeeBackend(options.Add(Manifest, () => new Journal()))
            .CreatePartition(virtualMachine ?? VirtualMachine);
    }

    private static async Task<(TeeResult Result, ITeeSession? Session)> OpenAsync(ITeePartition partition)
    {
        TeeRequest request = new()
        {
            Operation = TeeOperation.OpenSession,
            Application = Manifest.Uuid,
        };
        return (await partition.OpenSessionAsync(request), request.Session);
    }

    private sealed class Journal : TrustedApplication
    {
        protected internal override TeeReturnCode Create() => Note(Storage, 'C');

        protected internal override TeeReturnCode OpenSession(ApplicationCall call) => Note(call.Storage, 'O');

        protected internal override TeeReturnCode InvokeCommand(ApplicationCall call)
        {
            if (call.CommandId == 0)
            {
                return Note(call.Storage, 'I');
            }

            // The handle is left open; command 2 panics as well.
            TeeReturnCode code =
                call.Storage.Create("left"u8, StorageBench.All | TrustedObjectFlags.Overwrite, [], out _);
            return call.CommandId == 1 ? code : throw new InvalidOperationException();
        }

        protected internal override void CloseSession(ApplicationCall call) => Note(call.Storage, 'C');

        protected internal override void Destroy() => Note(Storage, 'D');

        private static TeeReturnCode Note(TrustedStorage storage, char entry)
        {
            TeeReturnCode code = storage.Open("journal"u8, StorageBench.All, out TrustedObject? handle);
            if (code == TeeReturnCode.ItemNotFound)
            {
                code = storage.Create("journal"u8, StorageBench.All, [], out handle);
            }

            using (handle)
            {
                _ = handle!.Seek(0, SeekOrigin.End);
                return handle.Write([(byte)entry]);
            }
        }
    }
}
