using System.Buffers.Binary;
using System.Diagnostics;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.FirmwareTpm;
using OpTeeMediator.StorageTests;
using OpTeeMediator.Tests.SoftwareTee;

namespace OpTeeMediator.FirmwareTpmTests;

/// <summary>A VM with a firmware TPM over a real swtpm, and a client that speaks as Linux's driver does.</summary>
internal sealed class TpmBench : IAsyncDisposable
{
    public static readonly Guid Machine = new("6c1cf9a0-4a43-4a5e-9b8c-0f2e7f8a3d11");

    private const int Length = 4096;

    private readonly byte[] _memory = new byte[3 * Length];
    private readonly ArraySharedMemory _shared;
    private readonly bool _ownsFolder;

    public TpmBench(
        string? folder = null, byte key = 1, Func<FirmwareTpmOptions, FirmwareTpmOptions>? change = null)
    {
        _ownsFolder = folder is null;
        Folder = folder ?? Directory.CreateTempSubdirectory("tpm").FullName;
        _shared = new ArraySharedMemory(_memory);
        FirmwareTpmOptions tpm = new(Folder);
        SoftwareTeeOptions options = new() { KeySource = new FixedKey(key) };
        SoftwareTeeBackend tee = new(options.AddFirmwareTpm(change is null ? tpm : change(tpm)));
        TeeVirtualMachine machine = new("vm", TeeAccess.All, 4, Loggers) { Identity = Machine };
        Partition = tee.CreatePartition(machine);
    }

    public string Folder { get; }

    public RecordingLoggers Loggers { get; } = new();

    public ITeePartition Partition { get; }

    public ITeeSession? Session { get; private set; }

    /// <summary>The processes of swtpm that serve the folder.</summary>
    public int[] ProcessIds =>
    [
        .. Directory.GetDirectories("/proc").Select(Path.GetFileName)
            .Where(name => int.TryParse(name, out _)).Select(name => int.Parse(name!, null))
            .Where(IsEngine),
    ];

    public async Task<TeeResult> OpenAsync()
    {
        TeeRequest request = new()
        {
            Operation = TeeOperation.OpenSession,
            Application = FirmwareTpmExtensions.FirmwareTpmUuid,
        };
        TeeResult result = await Partition.OpenSessionAsync(request);
        Session = request.Session;
        return result;
    }

    public async Task CloseAsync()
    {
        if (Session is { } session)
        {
            Session = null;
            await session.CloseAsync(new TeeRequest { Operation = TeeOperation.CloseSession });
        }
    }

    /// <summary>Saves the VM's part with the open session, if there is one.</summary>
    public async Task<byte[]> SaveAsync() =>
        (await ((ISavableTeePartition)Partition).SaveAsync(Session is null ? [] : [Session])).ToArray();

    /// <summary>Goes on from a saved state.</summary>
    public async Task RestoreAsync(ReadOnlyMemory<byte> state, int sessions = 1)
    {
        IReadOnlyList<ITeeSession?> restored = await ((ISavableTeePartition)Partition).RestoreAsync(state, sessions);
        Session = restored is [{ } session] ? session : null;
    }

    /// <summary>Kills the processes of swtpm that serve the folder, and waits for their end.</summary>
    public async Task KillEnginesAsync()
    {
        foreach (int id in ProcessIds)
        {
            using Process process = Process.GetProcessById(id);
            process.Kill();
            await process.WaitForExitAsync();
        }
    }

    /// <summary>The VM restarts: its driver's sessions end, then the TEE's part is reset.</summary>
    public async Task ResetAsync()
    {
        await CloseAsync();
        await Partition.ResetAsync();
    }

    /// <summary>A request with a command in memory, as the driver has it: the response lies after 4096 bytes.</summary>
    public TeeRequest Request(ReadOnlySpan<byte> command)
    {
        Array.Clear(_memory);
        bool isLong = command.Length > Length;
        command.CopyTo(_memory.AsSpan(isLong ? Length : 0));
        ulong commandStart = isLong ? Length : 0u;
        ulong responseStart = isLong ? 0u : Length;
        return new TeeRequest(
            TeeParameter.Reference(TeeParameterKind.MemoryInput, _shared, commandStart, (ulong)command.Length),
            TeeParameter.Reference(TeeParameterKind.MemoryInOut, _shared, responseStart, Length))
        {
            Operation = TeeOperation.InvokeCommand,
        };
    }

    /// <summary>Sends a command and gives the whole response.</summary>
    public async Task<byte[]> SendAsync(byte[] command)
    {
        TeeRequest request = Request(command);
        TeeResult result = await Task.Run(async () => await Session!.InvokeCommandAsync(request));
        Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.Success, TeeOrigin.TrustedApplication)));
        int start = command.Length > Length ? 0 : Length;
        return _memory[start..(start + (int)request.Parameters[1].Size)];
    }

    /// <summary>Sends a command and gives the response's code.</summary>
    public async Task<uint> CodeOfAsync(byte[] command) =>
        BinaryPrimitives.ReadUInt32BigEndian((await SendAsync(command)).AsSpan(6));

    public async ValueTask DisposeAsync()
    {
        await CloseAsync();
        await Partition.DisposeAsync();
        if (_ownsFolder)
        {
            Directory.Delete(Folder, recursive: true);
        }
    }

    private bool IsEngine(int id)
    {
        try
        {
            string[] arguments = File.ReadAllText($"/proc/{id}/cmdline").Split('\0');
            return arguments[0].EndsWith("swtpm", StringComparison.Ordinal)
                && File.ResolveLinkTarget($"/proc/{id}/cwd", returnFinalTarget: false)?.FullName
                    .StartsWith(Folder, StringComparison.Ordinal) == true;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // It has ended meanwhile.
            return false;
        }
    }
}
