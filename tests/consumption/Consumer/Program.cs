using Consumer;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.DeviceTree;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.LinuxTee;
using OpTeeMediator.Protocol;
using OpTeeMediator.Remote;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.FirmwareTpm;
using OpTeeMediator.SoftwareTee.Linux;
using OpTeeMediator.SoftwareTee.PostgreSql;
using OpTeeMediator.SoftwareTee.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;
using OpTeeMediator.Vmm;

// What a VMM does with all ten packages. Prints what ../expected.txt says, whatever the host has.
string folder = Directory.CreateTempSubdirectory("optee-consumer").FullName;
try
{
    string keyFile = Path.Combine(folder, "key");
    TeeKeyFile.Create(keyFile);
    SqliteTeeStore store = new(Path.Combine(folder, "objects"));
    SoftwareTeeOptions options = new()
    {
        Storage = new TrustedStorageOptions(store),
        KeySource = new TeeKeyFile(keyFile),
    };
    SoftwareTeeBackend tee = new(options
        .Add(AccountApplication.Manifest, () => new AccountApplication())
        .AddFirmwareTpm(new FirmwareTpmOptions(Path.Combine(folder, "tpm"))));

    // A VM that starts twice: first with the TEE in process, then with the same one behind a socket.
    Console.WriteLine($"The guest's balance: {await DepositAsync(tee, 20)}");
    string socket = Path.Combine(folder, "tee");
    await using (TeeServer server = TeeServer.Start(tee, new() { SocketPath = socket, Access = TeeAccess.All }))
    {
        ulong balance = await DepositAsync(new RemoteTeeBackend(socket), 22);
        Console.WriteLine($"After a restart, from the TEE server: {balance}");
    }

    PrintDeviceTree(OpTeeDeviceTreeNode.Compatible, OpTeeDeviceTreeNode.Method);
    PrintUnavailable("No PostgreSQL", () => new PostgreSqlTeeStore($"Host={folder};Database=none").Dispose());
    PrintUnavailable("No TEE of the host", () =>
    {
        using LinuxTeeBackend host = new(new LinuxTeeOptions { DevicePath = Path.Combine(folder, "tee0") });
        using Guest guest = new();
        _ = new OpTeeGuest(guest.Memory, host, new OpTeeGuestOptions());
    });
    PrintUnavailable("No KVM", () => KvmSystem.Open(Path.Combine(folder, "kvm")).Dispose());
}
finally
{
    Directory.Delete(folder, recursive: true);
}

return 0;

static async Task<ulong> DepositAsync(ITeeBackend tee, ulong amount)
{
    using Guest guest = new();
    OpTeeGuestOptions options = new()
    {
        Name = "vm1",
        Identity = new Guid("0d6a3c1e-9b1b-4f0e-8a55-5f3f6f1f2a01"),
        Access = TeeAccess.Only(AccountApplication.Manifest.Uuid, FirmwareTpmExtensions.FirmwareTpmUuid),
    };
    await using IGuestOpTee optee = new OpTeeGuest(guest.Memory, tee, options);
    _ = Guest.Smc(optee, OpTeeSmc.ExchangeCapabilities);
    _ = guest.Open(optee, FirmwareTpmExtensions.FirmwareTpmUuid);
    uint session = guest.Open(optee, AccountApplication.Manifest.Uuid);
    return guest.Invoke(optee, session, AccountApplication.Deposit, amount);
}

static void PrintDeviceTree(string compatible, string method)
{
    DeviceTreeWriter tree = new();
    using (tree.Node(string.Empty))
    using (tree.Node(OpTeeDeviceTreeNode.ParentName))
    using (tree.Node(OpTeeDeviceTreeNode.Name))
    {
        tree.Text("compatible", compatible);
        tree.Text("method", method);
    }

    Console.WriteLine($"The device tree has {tree.ToArray().Length} bytes.");
}

static void PrintUnavailable(string what, Action use)
{
    try
    {
        use();
    }
    catch (Exception failure) when (failure is TeeStoreException or TeeUnavailableException or SystemCallException)
    {
        Console.WriteLine($"{what}: {failure.GetType().Name}");
    }
}
