using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using OpTeeMediator.Machines.Agents;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing.Forwarding;

namespace OpTeeMediator.Machines.Partitioned;

/// <summary>An emulated machine that a small hypervisor divides among VMs; this process answers the SMCs of the one
/// that runs Linux or U-Boot.</summary>
/// <remarks>
/// Where the guest sees its memory and where it lies differ by blocks of 2 MiB. With the secure
/// world it has the OP-TEE that serves several VMs, and a further CPU that makes SMCs for threads other
/// than those of the guest's CPUs.
/// <code>
/// 0x40000000  qemu's device tree                  0x5e000000  shadow pages of the mediator, 4 MiB
/// 0x42000000  OP-TEE's reserved shared memory     0x60000000  the stub
/// 0x44000000  the guest's memory, 384 MiB         0x62000000  memory of a second VM, 32 MiB
/// </code>
/// </remarks>
public sealed class PartitionedMachine : IAsyncDisposable
{
    /// <summary>Where the mediator's pages begin physically; no guest reaches them.</summary>
    public const ulong FirstShadow = 0x5e00_0000;

    /// <summary>Where the last of them lies.</summary>
    public const ulong LastShadow = FirstShadow + (2 * ShadowLength) - GuestPages.PageSize;

    private const int RamLength = 1 << 30;
    private const ulong RamStart = 0x4000_0000;
    private const ulong BlockSize = 2 << 20;
    private const ulong LinuxMemory = 0x4400_0000;
    private const int LinuxBlocks = 192;
    private const ulong Shadow = FirstShadow;
    private const int ShadowLength = 2 << 20;
    private const ulong Stub = 0x6000_0000;
    private const ulong OtherMemory = 0x6200_0000;
    private const int OtherBlocks = 16;

    // Of tests/machines/steps/el2-stub.files/protocol.h.
    private const ulong Parameters = Stub + 0x10_0000;
    private const int Go = 4;
    private const int BlockCount = 5;
    private const int FirstBlock = 6;
    private const ulong ParametersMagic = 0x3250_4c45_4550_4f54;
    private const ulong Mailbox = Stub + 0x11_0000;
    private const ulong NoServiceCpu = 8;

    // Where the guest finds what it boots from.
    private const ulong GuestStart = 0x4000_0000;
    private const ulong Kernel = GuestStart + 0x20_0000;
    private const ulong DeviceTree = GuestStart + 0x800_0000;
    private const ulong Initramfs = GuestStart + 0x820_0000;

    // U-Boot's board for qemu looks there, and has its first stack below the kernel's address.
    private const ulong UBootDeviceTree = GuestStart;

    private const int TailLength = 4000;

    private static readonly string[] LogNames = ["boot", "console", "optee"];

    private static readonly TimeSpan Boots = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan BootsWhenIdle = TimeSpan.FromSeconds(4);
    private static readonly TimeSpan Ends = TimeSpan.FromSeconds(15);

    private readonly string _folder;
    private readonly PartitionedMachineOptions _options;
    private readonly FileRam _ram;
    private readonly TaskCompletionSource _off = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<StubCpu> _cpus = [];
    private Process? _process;
    private AgentLine? _console;
    private UBootConsole? _uBoot;
    private string? _kernel;

    private PartitionedMachine(string folder, PartitionedMachineOptions options)
    {
        _folder = folder;
        _options = options;
        _ram = new FileRam(Path.Combine(folder, "ram"), RamStart, RamLength);
        Monitor = new StubMonitor(_ram, Mailbox);

        // Neighbours for the guest lie far apart: 77 has no divisor in common with the number of blocks.
        ulong[] blocks = [.. Enumerable.Range(0, LinuxBlocks)
            .Select(block => LinuxMemory + ((ulong)((block * 77) % LinuxBlocks) * BlockSize))];
        Memory = new PartitionedMemory(_ram, GuestStart, BlockSize, blocks, Shadow, ShadowLength / GuestPages.PageSize);
        Blocks = blocks;
    }

    /// <summary>The guest's memory.</summary>
    public PartitionedMemory Memory { get; }

    /// <summary>The way to the secure world.</summary>
    public StubMonitor Monitor { get; }

    /// <summary>The agent in the guest, which is Linux.</summary>
    public AgentLine Console => _console ?? throw new InvalidOperationException("The machine has not booted Linux.");

    /// <summary>The console of the guest, which is U-Boot.</summary>
    public UBootConsole UBoot => _uBoot ?? throw new InvalidOperationException("The machine has not booted U-Boot.");

    /// <summary>The version of the guest's Linux.</summary>
    public string GuestKernel { get; private set; } = "";

    /// <summary>Whether OP-TEE runs on it.</summary>
    public bool HasSecureWorld => _options.HasSecureWorld;

    private ulong[] Blocks { get; }

    /// <summary>Prepares a machine; <see cref="BootAsync"/> boots it. It has its memory and
    /// its monitor already.</summary>
    /// <param name="options">How it is to be.</param>
    /// <returns>The machine.</returns>
    public static async Task<PartitionedMachine> CreateAsync(PartitionedMachineOptions options)
    {
        string guest = options.Guest switch
        {
            PartitionedGuest.UBoot => "u-boot",
            PartitionedGuest.LinuxWithTools => "guest-tools",
            _ => "guest",
        };
        string[] built = await MachineScripts.BuildAsync(options.HasSecureWorld
            ? ["el2-stub", guest, "firmware-virtualized"] : ["el2-stub", guest]);
        string folder = Directory.CreateDirectory(Path.Combine("/dev/shm", $"optee-{Guid.NewGuid():n}"[..14])).FullName;
        var machine = new PartitionedMachine(folder, options);
        try
        {
            machine.Load(built[0], built[1]);
            for (int cpu = 0; cpu < options.Cpus; cpu++)
            {
                await MachineScripts.RunAsync(Deadlines.Scale(Ends), "mkfifo", Path.Combine(folder, $"cpu{cpu}.out"),
                    Path.Combine(folder, $"cpu{cpu}.in"));
            }

            return machine;
        }
        catch
        {
            await machine.DisposeAsync();
            throw;
        }
    }

    /// <summary>Switches the machine on.</summary>
    /// <remarks>Its service CPU works from about a second later on; a call waits for that.</remarks>
    public void PowerOn()
    {
        int cpus = _options.Cpus + (_options.HasSecureWorld ? 1 : 0);
        string[] arguments =
        [
            "-c", Machine.Keeper, "bash", Path.Combine(MachineScripts.Folder, "boot-partitioned"),
            "--cpus", cpus.ToString(CultureInfo.InvariantCulture),
            .. _options.HasSecureWorld ? ["--secure-world"] : Array.Empty<string>(),
            _folder,
        ];
        var start = new ProcessStartInfo("bash", arguments) { RedirectStandardInput = true };
        start.Environment["LOG"] = Path.Combine(_folder, "boot.log");
        _process = Process.Start(start)!;
    }

    /// <summary>Lets the guest run and waits for its agent, or for the prompt of U-Boot.</summary>
    /// <param name="handler">Who answers its calls of a trusted OS.</param>
    /// <returns>A task that fails with the ends of the logs if it does not appear.</returns>
    public async Task BootAsync(ISmcHandler handler)
    {
        if (_process is null)
        {
            PowerOn();
        }

        string console = Path.Combine(_folder, "console.sock");
        if (_options.Guest == PartitionedGuest.UBoot)
        {
            _uBoot = await UBootConsole.ConnectAsync(console, _process!, Logs);
            Task prompt = _uBoot.WaitForPromptAsync(Deadlines.Scale(Boots));
            StartGuest(handler);
            if (await Task.WhenAny(prompt, _off.Task) != prompt)
            {
                await _off.Task; // the mediator may have failed
            }

            await prompt;
            return;
        }

        long started = Stopwatch.GetTimestamp();
        _console = await AgentLine.ConnectAsync(console, _process!, Logs);
        Task ready = _console.Announcement;
        StartGuest(handler);
        _ = await Task.WhenAny(ready, _off.Task, _process!.WaitForExitAsync(), Task.Delay(Deadlines.Scale(Boots)));
        await _console.WaitForAsync(ready, TimeSpan.Zero);
        Deadlines.Measured(Stopwatch.GetElapsedTime(started), BootsWhenIdle);
        GuestKernel = await Machine.ReadKernelAsync(_console);
    }

    /// <summary>Runs a shell script in the guest.</summary>
    /// <param name="script">The script.</param>
    /// <param name="seconds">How long it may take on an idle computer.</param>
    /// <returns>How it ended.</returns>
    public Task<CommandResult> RunAsync(string script, int seconds = 60) =>
        Console.RunAsync(script, TimeSpan.FromSeconds(seconds));

    /// <summary>The memory of a second VM, which has no CPU: its owner plays its part.</summary>
    public PartitionedMemory CreateOtherMemory()
    {
        ulong[] blocks = [.. Enumerable.Range(0, OtherBlocks)
            .Select(block => OtherMemory + ((ulong)(OtherBlocks - 1 - block) * BlockSize))];
        return new PartitionedMemory(_ram, GuestStart, BlockSize, blocks, Shadow + ShadowLength,
            ShadowLength / GuestPages.PageSize);
    }

    /// <summary>Whether the guest's kernel, which is Linux, has a text in its image.</summary>
    /// <param name="text">The text.</param>
    /// <returns>Whether it has.</returns>
    public bool KernelContains(string text) => _kernel is not null
        && File.ReadAllBytes(_kernel).AsSpan().IndexOf(Encoding.ASCII.GetBytes(text)) >= 0;

    /// <summary>The ends of the machine's logs.</summary>
    /// <returns>A text for a message.</returns>
    public string Logs() =>
        string.Join('\n', LogNames.Select(Tail).Where(tail => tail.Length > 0).Append(_off.Task.Exception?.ToString()));

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_console is not null)
        {
            await _console.DisposeAsync();
        }

        _uBoot?.Dispose();
        if (_process is not null)
        {
            _process.StandardInput.Close();
            using var limit = new CancellationTokenSource(Deadlines.Scale(Ends));
            try
            {
                await _process.WaitForExitAsync(limit.Token);
            }
            catch (OperationCanceledException)
            {
                _process.Kill(entireProcessTree: true);
            }

            _process.Dispose();
        }

        foreach (StubCpu cpu in _cpus)
        {
            cpu.Dispose();
        }

        _ram.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private void StartGuest(ISmcHandler handler)
    {
        for (int number = 0; number < _options.Cpus; number++)
        {
            _cpus.Add(new StubCpu(_folder, number, handler, () => _off.TrySetResult(),
                exception => _off.TrySetException(exception)));
        }

        Volatile.Write(
            ref MemoryMarshal.Cast<byte, ulong>(_ram.At(Parameters + (Go * sizeof(ulong)), sizeof(ulong)))[0], 1);
    }

    private void Load(string stub, string guest)
    {
        byte[] image = File.ReadAllBytes(Path.Combine(stub, "stub.bin"));
        image.CopyTo(_ram.At(Stub, image.Length));

        Span<ulong> parameters =
            MemoryMarshal.Cast<byte, ulong>(_ram.At(Parameters, (FirstBlock + LinuxBlocks) * sizeof(ulong)));
        parameters[0] = ParametersMagic;
        parameters[1] = Kernel;
        parameters[2] = _options.Guest == PartitionedGuest.UBoot ? UBootDeviceTree : DeviceTree;
        parameters[3] = _options.HasSecureWorld ? (ulong)_options.Cpus : NoServiceCpu;
        parameters[BlockCount] = LinuxBlocks;
        Blocks.CopyTo(parameters[FirstBlock..]);

        OpTeeDeviceTreeNode optee = new() { Spi = _options.NotificationSpi };
        if (_options.Guest == PartitionedGuest.UBoot)
        {
            Put(Kernel, File.ReadAllBytes(Path.Combine(guest, "u-boot.bin")));
            Put(UBootDeviceTree, GuestDeviceTree.Write(Memory.Range, _options.Cpus, "", default, optee));
            return;
        }

        _kernel = Path.Combine(guest, "Image");
        Put(Kernel, File.ReadAllBytes(_kernel));
        byte[] initramfs =
            [.. File.ReadAllBytes(Path.Combine(guest, "initramfs.cpio")), .. CpioArchive.Write(_options.Files)];
        Put(Initramfs, initramfs);
        GuestRange initrd = new(Initramfs, (ulong)initramfs.Length);
        Put(DeviceTree, GuestDeviceTree.Write(Memory.Range, _options.Cpus,
            "console=ttyAMA0 quiet guest_mode=agent nokaslr", initrd, optee));
    }

    private void Put(ulong address, byte[] bytes)
    {
        if (!Memory.TryWrite(address, bytes))
        {
            throw new InvalidOperationException($"The guest has no memory for {bytes.Length} bytes at 0x{address:x}.");
        }
    }

    private string Tail(string name)
    {
        var file = new FileInfo(Path.Combine(_folder, name + ".log"));
        if (!file.Exists || file.Length == 0)
        {
            return "";
        }

        using var reader =
            new StreamReader(new FileStream(file.FullName, FileMode.Open, FileAccess.Read, FileShare.ReadWrite));
        reader.BaseStream.Seek(-Math.Min(TailLength, file.Length), SeekOrigin.End);
        return $"--- {name}.log\n{reader.ReadToEnd()}";
    }
}
