using System.Diagnostics;
using System.Net.Sockets;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.StorageTests;
using OpTeeMediator.Tests.SoftwareTee;

namespace OpTeeMediator.FirmwareTpmTests;

/// <summary>The figures of docs/trusted-keys-and-tpm.md, printed; nothing is asserted about time.</summary>
[Explicit("prints figures")]
internal sealed class CostTests
{
    private const int Rounds = 5000;

    [Test]
    public async Task ExtendPcr_ThroughTheTeeAndOnSwtpmsSocket()
    {
        await using TpmBench bench = new();
        _ = await bench.OpenAsync();
        _ = await bench.SendAsync(TpmCommands.Startup);
        string folder = Directory.CreateTempSubdirectory("tpm").FullName;
        ProcessStartInfo start = new("swtpm")
        {
            WorkingDirectory = folder,
            ArgumentList =
            {
                "socket", "--tpm2", "--terminate", "--tpmstate", "dir=.", "--flags", "not-need-init,startup-clear",
                "--ctrl", "type=unixio,path=c", "--server", "type=unixio,path=d",
            },
        };
        using Process process = Process.Start(start)!;
        using Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        while (!File.Exists(Path.Combine(folder, "d")))
        {
            await Task.Delay(10);
        }

        await socket.ConnectAsync(new UnixDomainSocketEndPoint(Path.Combine(folder, "d")));
        byte[] response = new byte[4096];
        TeeRequest request = bench.Request(TpmCommands.ExtendPcr);
        for (int run = 0; run < 3; run++)
        {
            Print($"PCR extend, swtpm's socket, run {run}", () =>
            {
                _ = socket.Send(TpmCommands.ExtendPcr);
                _ = socket.Receive(response);
            });
            Print($"PCR extend, the TEE, run {run}", () =>
                bench.Session!.InvokeCommandAsync(request).AsTask().GetAwaiter().GetResult());
        }

        Assert.That(response.AsSpan(6, 4).ToArray(), Is.EqualTo(new byte[4]), "swtpm's own answer is a success");
        Assert.That(await bench.CodeOfAsync(TpmCommands.ExtendPcr), Is.Zero);
        socket.Close();
        await process.WaitForExitAsync();
        Directory.Delete(folder, recursive: true);
    }

    [Test]
    public async Task SealAndUnseal_ThroughTheTee()
    {
        using RecordingLoggers loggers = new();
        TeeVirtualMachine machine = new("vm", TeeAccess.All, 4, loggers) { Identity = TpmBench.Machine };
        SoftwareTeeOptions options = new() { KeySource = new FixedKey(1) };
        await using ITeePartition partition =
            new SoftwareTeeBackend(options.AddTrustedKeys()).CreatePartition(machine);
        TeeRequest open = new()
        {
            Operation = TeeOperation.OpenSession,
            Application = SoftwareTeeBackend.TrustedKeysUuid,
            Client = new ClientIdentity(TeeLogin.Kernel, Guid.Empty),
        };
        _ = await partition.OpenSessionAsync(open);
        byte[] memory = new byte[8192];
        TeeRequest sealing = Request(1, memory, 0, 32, 4096, 512);
        TeeRequest unsealing = Request(2, memory, 4096, 81, 0, 32);
        for (int run = 0; run < 3; run++)
        {
            Print($"seal, run {run}", () => Invoke(open.Session!, sealing));
            Print($"unseal, run {run}", () => Invoke(open.Session!, unsealing));
        }
    }

    private static void Invoke(ITeeSession session, TeeRequest request)
    {
        TeeResult result = session.InvokeCommandAsync(request).AsTask().GetAwaiter().GetResult();
        Assert.That(result.Code, Is.EqualTo(TeeReturnCode.Success));
    }

    private static TeeRequest Request(
        uint command, byte[] memory, ulong input, ulong inputLength, ulong output, ulong outputLength)
    {
        ArraySharedMemory shared = new(memory);
        return new TeeRequest(
            TeeParameter.Reference(TeeParameterKind.MemoryInput, shared, input, inputLength),
            TeeParameter.Reference(TeeParameterKind.MemoryOutput, shared, output, outputLength))
        {
            Operation = TeeOperation.InvokeCommand,
            CommandId = command,
        };
    }

    private static void Print(string name, Action action)
    {
        long[] ticks = new long[Rounds];
        for (int round = 0; round < Rounds; round++)
        {
            long before = Stopwatch.GetTimestamp();
            action();
            ticks[round] = Stopwatch.GetElapsedTime(before).Ticks;
        }

        Array.Sort(ticks);
        TestContext.Out.WriteLine(
            $"{name}: median {ticks[Rounds / 2] / 10.0} µs, 99 % {ticks[Rounds * 99 / 100] / 10.0} µs");
    }
}
