using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;

namespace OpTeeMediator.MachineTests;

/// <summary>Trusted storage of guests without TrustZone: the software TEE's, in an SQLite database.</summary>
[TestFixture]
internal sealed class StorageTests : MachineFixture
{
    private const string ItemNotFound = "ffff0008";
    private const string CorruptObject = "f0100001";
    private const string Folder = "/tmp/storage";
    private const string Database = Folder + "/tee.db";

    // For the guest's shell: several chunks of an object, made in the guest as its console is slow.
    private const string LongText = "$(printf %040000d 0)";

    private static readonly string Client = MachineFiles.Program("objects");

    private static readonly GuestOptions WithStorage = new()
    {
        Tee = "software",
        Cpus = 1,
        More = $"--storage {Database} --vm-id 7b7f0d1c-6a0c-4d4b-8a8e-1d0c5f4f0a09",
    };

    private static readonly GuestOptions OnItsDisk = WithStorage with
    {
        Disk = Folder + "/disk",
        More = WithStorage.More.Replace("--storage ", "--storage guest:", StringComparison.Ordinal),
    };

    [SetUp]
    public async Task MakeTheFolder() => (await Machine.RunAsync($"rm -rf {Folder} && mkdir {Folder}")).Succeeded();

    [Test]
    public async Task Objects_GuestAndVmmStartAgain_AreThere()
    {
        await using (Guest guest = await Guest.StartAsync(Machine, 1, WithStorage))
        {
            await WriteAsync(guest, "kept", "first");
            await WriteAsync(guest, "kept", "second");
            await WriteAsync(guest, "long", LongText);
            await WriteAsync(guest, "deleted", "text");
            (await guest.RunAsync($"{Client} delete deleted")).Succeeded();
            await guest.RestartAsync("reboot -f");
            Assert.That(await ReadAsync(guest, "kept"), Is.EqualTo("second"), "after the guest's reboot");
            (await guest.PowerOffAsync()).Succeeded();
        }

        await using (Guest again = await Guest.StartAsync(Machine, 1, WithStorage))
        {
            Assert.That(await ReadAsync(again, "kept"), Is.EqualTo("second"), "after the VMM's end");
            (await again.RunAsync($"[ $({Client} read long) = {LongText} ]")).Succeeded();
            Assert.That(await ReadAsync(again, "deleted"), Is.EqualTo(ItemNotFound));
            await WriteAsync(again, "kept", "third");
            await again.KillAsync();
        }

        await using Guest last = await Guest.StartAsync(Machine, 1, WithStorage);
        Assert.That(await ReadAsync(last, "kept"), Is.EqualTo("third"), "after kill -9 of the VMM");
    }

    // The root record begins with its stamp, in clear; the flip is in what is encrypted after it.
    [Test]
    public async Task Database_OneByteChanged_CorruptObject()
    {
        await using (Guest guest = await Guest.StartAsync(Machine, 1, WithStorage))
        {
            await WriteAsync(guest, "kept", "text");
            (await guest.PowerOffAsync()).Succeeded();
        }

        // The last page of the file has records; the first byte of its content area is in the newest one.
        (await Machine.RunAsync(
            $"[ ! -s {Database}-wal ] && size=$(stat -c %s {Database}) && "
            + $"printf '\\377' | dd of={Database} bs=1 seek=$((size - 100)) conv=notrunc 2> /dev/null")).Succeeded();
        await using Guest again = await Guest.StartAsync(Machine, 1, WithStorage);
        Assert.That(await ReadAsync(again, "kept"), Is.EqualTo(CorruptObject));
    }

    [Test]
    public async Task Vmm_KeyFileMissingOrOpenToOthers_EndsWithAMessage()
    {
        await using (Guest guest = await Guest.StartAsync(Machine, 1, WithStorage))
        {
            await WriteAsync(guest, "kept", "text");
        }

        string command = Guest.CommandOf(1, WithStorage);
        (await Machine.RunAsync($"chmod 644 {Database}.key")).Succeeded();
        CommandResult open = await Machine.RunAsync($"{{ {command}; }} 2>&1");
        (await Machine.RunAsync($"mv {Database}.key {Folder}/moved")).Succeeded();
        CommandResult missing = await Machine.RunAsync($"{{ {command}; }} 2>&1");
        (await Machine.RunAsync($"chmod 600 {Folder}/moved && mv {Folder}/moved {Database}.key")).Succeeded();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(open.ToString(), Does.Contain("expected mode 0600"));
            Assert.That(missing.ToString(), Does.Contain("tee.db.key cannot be read"));
        }

        await using Guest again = await Guest.StartAsync(Machine, 1, WithStorage);
        Assert.That(await ReadAsync(again, "kept"), Is.EqualTo("text"), "nothing is lost");
    }

    [Test]
    public async Task Objects_OnTheGuestsOwnDisk_AreThereAfterItsRebootAndTheVmms()
    {
        await GuestDisk.MakeAsync(Machine, OnItsDisk.Disk);
        await using (Guest guest = await Guest.StartAsync(Machine, 1, OnItsDisk))
        {
            await GuestDisk.MountAsync(guest, isNew: true);
            await WriteAsync(guest, "kept", "first");
            await WriteAsync(guest, "long", LongText);
            await guest.RestartAsync("reboot -f");
            await GuestDisk.MountAsync(guest);
            Assert.That(await ReadAsync(guest, "kept"), Is.EqualTo("first"), "after the guest's reboot");
            await WriteAsync(guest, "kept", "second");
            await guest.KillAsync();
        }

        await using Guest again = await Guest.StartAsync(Machine, 1, OnItsDisk);
        await GuestDisk.MountAsync(again);
        Assert.That(await ReadAsync(again, "kept"), Is.EqualTo("second"), "after kill -9 of the VMM");
        (await again.RunAsync($"[ $({Client} read long) = {LongText} ]")).Succeeded();
    }

    [Test]
    public async Task Files_OfTheGuestChangedOrPutBack_CorruptObject()
    {
        await using Guest guest = await Guest.StartAsync(Machine, 1, OnItsDisk with { Disk = "" });
        (await guest.RunAsync("tee-supplicant -d")).Succeeded();
        await WriteAsync(guest, "kept", "first");
        (await guest.RunAsync($"cp -r {GuestDisk.Files} /tmp/earlier")).Succeeded();
        await WriteAsync(guest, "kept", "second");
        (await guest.RunAsync($"cp -r {GuestDisk.Files} /tmp/latest && rm -r {GuestDisk.Files}/*")).Succeeded();
        (await guest.RunAsync($"cp -r /tmp/earlier/* {GuestDisk.Files}")).Succeeded();
        Assert.That(await ReadAsync(guest, "kept"), Is.EqualTo(CorruptObject), "put back");

        (await guest.RunAsync($"rm -r {GuestDisk.Files}/* && cp -r /tmp/latest/* {GuestDisk.Files}")).Succeeded();
        Assert.That(await ReadAsync(guest, "kept"), Is.EqualTo("second"));
        (await guest.RunAsync(
            $"for file in $(find {GuestDisk.Files} -type f); do printf X | dd of=$file bs=1 seek=9 conv=notrunc; done"))
            .Succeeded();
        Assert.That(await ReadAsync(guest, "kept"), Is.EqualTo(CorruptObject), "changed");
    }

    [Test]
    public async Task Application_NoStorage_IsNotThere()
    {
        await using Guest guest =
            await Guest.StartAsync(Machine, 1, new GuestOptions { Tee = "software", Cpus = 1 });
        Assert.That(await ReadAsync(guest, "any"), Is.EqualTo(ItemNotFound));
    }

    private static async Task WriteAsync(Guest guest, string name, string text) =>
        (await guest.RunAsync($"{Client} write {name} {text}")).Succeeded();

    private static async Task<string> ReadAsync(Guest guest, string name) =>
        (await guest.RunAsync($"{Client} read {name}")).Output.Trim();
}
