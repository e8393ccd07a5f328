using System.Diagnostics;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.FirmwareTpm;
using OpTeeMediator.Tests.SoftwareTee;

namespace OpTeeMediator.FirmwareTpmTests;

/// <summary>The firmware TPM over a real swtpm.</summary>
internal sealed class FirmwareTpmTests
{
    // Of part 2 of the TPM's specification.
    private const uint Success = 0;
    private const uint NotInitialized = 0x100;
    private const uint Failure = 0x101;
    private const uint WrongSize = 0x142;

    private static readonly byte[] Zeros = new byte[32];

    [Test]
    public async Task Devices_SwtpmIsThere_HaveTheTpm()
    {
        await using TpmBench bench = new();

        Assert.That(bench.Partition.Devices, Does.Contain(new TeeDevice(FirmwareTpmExtensions.FirmwareTpmUuid)));
    }

    [Test]
    public void AddFirmwareTpm_SwtpmIsMissing_ThrowsWithWhatToDo()
    {
        FirmwareTpmOptions tpm = new("/tmp") { Executable = "/no/swtpm" };

        Assert.That(() => new SoftwareTeeOptions().AddFirmwareTpm(tpm), Throws.TypeOf<TeeUnavailableException>()
            .With.Message.Contains("/no/swtpm").And.Message.Contains("apt-get install swtpm"));
    }

    [Test]
    public void AddFirmwareTpm_FolderTooLongForSockets_ThrowsWithTheLimit()
    {
        FirmwareTpmOptions tpm = new("/" + new string('x', 100));

        Assert.That(() => new SoftwareTeeOptions().AddFirmwareTpm(tpm), Throws.ArgumentException
            .With.Message.Contains("107"));
    }

    [Test]
    public void AddFirmwareTpm_TimeOutOfRange_Throws()
    {
        FirmwareTpmOptions tpm = new("/tmp");

        Assert.That(() => new SoftwareTeeOptions().AddFirmwareTpm(tpm with { CommandTimeout = TimeSpan.Zero }),
            Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => new SoftwareTeeOptions().AddFirmwareTpm(tpm with { StartTimeout = TimeSpan.MaxValue }),
            Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public async Task Commands_AfterStartup_AreExecuted()
    {
        await using TpmBench bench = new();
        Assert.That((await bench.OpenAsync()).Code, Is.EqualTo(TeeReturnCode.Success));

        Assert.That(await bench.CodeOfAsync(TpmCommands.GetRandom), Is.EqualTo(NotInitialized));
        Assert.That(await bench.CodeOfAsync(TpmCommands.Startup), Is.EqualTo(Success));
        byte[] first = await bench.SendAsync(TpmCommands.GetRandom);
        byte[] second = await bench.SendAsync(TpmCommands.GetRandom);

        Assert.That(first, Has.Length.EqualTo(28));
        Assert.That(second, Is.Not.EqualTo(first));
        Assert.That(await bench.CodeOfAsync(TpmCommands.CreateKey), Is.EqualTo(Success));
    }

    [Test]
    public async Task Pcr_DriverLoadedAgain_IsKept()
    {
        await using TpmBench bench = await StartedAsync();
        Assert.That(await bench.CodeOfAsync(TpmCommands.ExtendPcr), Is.EqualTo(Success));
        byte[] extended = TpmCommands.DigestOf(await bench.SendAsync(TpmCommands.ReadPcr));
        Assert.That(extended, Is.Not.EqualTo(Zeros));

        await bench.CloseAsync();
        _ = await bench.OpenAsync();

        Assert.That(TpmCommands.DigestOf(await bench.SendAsync(TpmCommands.ReadPcr)), Is.EqualTo(extended));
    }

    [Test]
    public async Task Pcr_VmReset_IsZero()
    {
        await using TpmBench bench = await StartedAsync();
        _ = await bench.SendAsync(TpmCommands.ExtendPcr);

        await bench.ResetAsync();
        Assert.That(bench.ProcessIds, Is.Empty, "swtpm ends with the reset");
        _ = await bench.OpenAsync();

        Assert.That(await bench.CodeOfAsync(TpmCommands.Startup), Is.EqualTo(Success));
        Assert.That(TpmCommands.DigestOf(await bench.SendAsync(TpmCommands.ReadPcr)), Is.EqualTo(Zeros));
    }

    [Test]
    public async Task Key_VmStartedAgain_IsTheSameAndTheStateIsEncrypted()
    {
        string folder = Directory.CreateTempSubdirectory("tpm").FullName;
        byte[] first = await KeyOfAsync(folder, 1);
        byte[] second = await KeyOfAsync(folder, 1);
        await using TpmBench other = new(folder, key: 2);
        TeeResult result = await other.OpenAsync();

        // The public part; handle and tickets before and after it may differ.
        Assert.That(second[18..300], Is.EqualTo(first[18..300]));
        Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.Generic, TeeOrigin.TrustedApplication)));
        Assert.That(other.Loggers.Entries.Single().Message, Does.Contain("the guest gets no TPM")
            .And.Contain("is the key another one"));
        Assert.That(other.ProcessIds, Is.Empty);
        Directory.Delete(folder, recursive: true);
    }

    [Test]
    public async Task Start_FailsAgainAndAgain_IsLoggedOnce()
    {
        string folder = Directory.CreateTempSubdirectory("tpm").FullName;
        _ = await KeyOfAsync(folder, 1);
        await using TpmBench bench = new(folder, key: 2);

        for (int attempt = 0; attempt < 5; attempt++)
        {
            Assert.That((await bench.OpenAsync()).Code, Is.EqualTo(TeeReturnCode.Generic));
            await bench.ResetAsync();
        }

        Assert.That(bench.Loggers.Entries, Has.Count.EqualTo(1));
        Directory.Delete(folder, recursive: true);
    }

    [Test]
    public async Task MalformedCommand_EachSize_ErrorAndNothingIsLost()
    {
        await using TpmBench bench = await StartedAsync();
        _ = await bench.SendAsync(TpmCommands.ExtendPcr);
        byte[] extended = TpmCommands.DigestOf(await bench.SendAsync(TpmCommands.ReadPcr));
        byte[] random = new byte[8192];
        new Random(1).NextBytes(random);

        for (int size = 0; size <= random.Length; size++)
        {
            uint code = await bench.CodeOfAsync(random[..size]);
            Assert.That(code, Is.EqualTo(WrongSize), $"{size} random bytes");

            // The header's length is right, and nothing else.
            byte[] padded = random[..size];
            if (size >= 10)
            {
                (padded[2], padded[3], padded[4], padded[5]) = (0, 0, (byte)(size >> 8), (byte)size);
                code = await bench.CodeOfAsync(padded);
                Assert.That(code, Is.Not.EqualTo(Success).And.Not.EqualTo(Failure), $"{size} bytes with their size");
            }
        }

        Assert.That(TpmCommands.DigestOf(await bench.SendAsync(TpmCommands.ReadPcr)), Is.EqualTo(extended));
    }

    [Test]
    public async Task Command_WrongParameters_RefusedWithGlobalPlatformsCode()
    {
        await using TpmBench bench = await StartedAsync();
        TeeRequest unknown = bench.Request(TpmCommands.GetRandom);
        unknown.CommandId = 1;
        TeeRequest none = new() { Operation = TeeOperation.InvokeCommand };
        TeeRequest full = bench.Request(TpmCommands.GetRandom);
        TeeRequest tooShort = new(
            full.Parameters[0],
            TeeParameter.Reference(TeeParameterKind.MemoryInOut, full.Parameters[1].Memory, 4096, 4095))
        {
            Operation = TeeOperation.InvokeCommand,
        };

        Assert.That((await bench.Session!.InvokeCommandAsync(unknown)).Code, Is.EqualTo(TeeReturnCode.NotSupported));
        Assert.That((await bench.Session.InvokeCommandAsync(none)).Code, Is.EqualTo(TeeReturnCode.BadParameters));
        Assert.That((await bench.Session.InvokeCommandAsync(tooShort)).Code, Is.EqualTo(TeeReturnCode.ShortBuffer));
        Assert.That(tooShort.Parameters[1].Size, Is.EqualTo(4096));
    }

    [Test]
    public async Task Swtpm_KilledInTheMiddleOfACommand_FailsUntilTheReset()
    {
        await using TpmBench bench = await StartedAsync();
        int id = bench.ProcessIds.Single();
        await SignalAsync("STOP", id);
        Task<uint> command = bench.CodeOfAsync(TpmCommands.CreateKey);

        await SignalAsync("KILL", id);

        Assert.That(await command, Is.EqualTo(Failure));
        Assert.That(await bench.CodeOfAsync(TpmCommands.Startup), Is.EqualTo(Failure));
        await bench.CloseAsync();
        Assert.That((await bench.OpenAsync()).Code, Is.EqualTo(TeeReturnCode.Success));
        Assert.That(await bench.CodeOfAsync(TpmCommands.Startup), Is.EqualTo(Failure), "a driver loaded again");
        Assert.That(bench.Loggers.Entries.Single().Message, Does.Contain("TPM_RC_FAILURE until the VM is reset"));

        await bench.ResetAsync();
        _ = await bench.OpenAsync();
        Assert.That(await bench.CodeOfAsync(TpmCommands.Startup), Is.EqualTo(Success));
    }

    [Test]
    public async Task Swtpm_DoesNotAnswer_EndedAtTheDeadline()
    {
        await using TpmBench bench =
            await StartedAsync(tpm => tpm with { CommandTimeout = TimeSpan.FromMilliseconds(500) });
        await SignalAsync("STOP", bench.ProcessIds.Single());

        Assert.That(await bench.CodeOfAsync(TpmCommands.GetRandom), Is.EqualTo(Failure));

        Assert.That(bench.ProcessIds, Is.Empty);
        Assert.That(bench.Loggers.Entries.Single().Message, Does.Contain("has not answered"));
    }

    [Test]
    [System.Runtime.Versioning.SupportedOSPlatform("linux")]
    public async Task Start_SwtpmIsNotReady_EndedAtTheDeadline()
    {
        string folder = Directory.CreateTempSubdirectory("tpm").FullName;
        string slow = Path.Combine(folder, "slow-swtpm");
        await File.WriteAllTextAsync(slow, """
            #!/bin/sh
            case "$*" in *--print-capabilities*) exec swtpm "$@";; esac
            exec sleep 1000

            """);
        File.SetUnixFileMode(slow, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        await using TpmBench bench =
            new(change: tpm => tpm with { Executable = slow, StartTimeout = TimeSpan.FromMilliseconds(300) });

        Assert.That((await bench.OpenAsync()).Code, Is.EqualTo(TeeReturnCode.Generic));

        Assert.That(bench.ProcessIds, Is.Empty);
        Assert.That(bench.Loggers.Entries.Single().Message, Does.Contain("was not ready after"));
        Directory.Delete(folder, recursive: true);
    }

    [Test]
    public async Task Dispose_SwtpmIsStopped_EndsIt()
    {
        TpmBench bench = await StartedAsync();
        await SignalAsync("STOP", bench.ProcessIds.Single());

        await bench.CloseAsync();
        await bench.Partition.DisposeAsync();

        Assert.That(bench.ProcessIds, Is.Empty);
        await bench.DisposeAsync();
    }

    [Test]
    [System.Runtime.Versioning.UnsupportedOSPlatform("windows")]
    public async Task Files_WhileItRuns_AreTheOwnersAndNoSocketIsLeft()
    {
        await using TpmBench bench = await StartedAsync();
        _ = await bench.SendAsync(TpmCommands.CreateKey);
        string folder = Path.Combine(bench.Folder, TpmBench.Machine.ToString("D"));

        const UnixFileMode Others = (UnixFileMode)0b000_111_111;
        Assert.That(Directory.GetFiles(folder, "*.sock"), Is.Empty);
        Assert.That(File.GetUnixFileMode(folder) & Others, Is.EqualTo(default(UnixFileMode)));
        Assert.That(File.GetUnixFileMode(Path.Combine(folder, "tpm2-00.permall")) & Others,
            Is.EqualTo(default(UnixFileMode)));
    }

    [Test]
    public async Task User_VmmIsRoot_SwtpmRunsAsThatUser()
    {
        if (!Environment.IsPrivilegedProcess)
        {
            Assert.Ignore("Only root can start a process of another user.");
        }

        await using TpmBench bench = await StartedAsync(tpm => tpm with { User = "nobody" });

        string[] status = await File.ReadAllLinesAsync($"/proc/{bench.ProcessIds.Single()}/status");
        Assert.That(status.Single(line => line.StartsWith("Uid:", StringComparison.Ordinal)), Does.Not.Contain("\t0"));
        Assert.That(status.Single(line => line.StartsWith("Seccomp:", StringComparison.Ordinal)), Does.EndWith("2"));
        Assert.That(await bench.CodeOfAsync(TpmCommands.CreateKey), Is.EqualTo(Success));
    }

    [Test]
    public async Task Reset_WhileSwtpmDoesNotAnswer_EndsTheCommandAndSwtpm()
    {
        await using TpmBench bench = await StartedAsync();
        await SignalAsync("STOP", bench.ProcessIds.Single());
        TeeRequest request = bench.Request(TpmCommands.GetRandom);
        ThreadRunner<TeeResult> command = new(() => bench.Session!.InvokeCommandAsync(request));
        command.WaitUntilBlocked();

        _ = request.RequestTermination();
        bench.Partition.Cancel(request);

        Assert.That((await command.Result).Code, Is.EqualTo(TeeReturnCode.Cancel));
        Assert.That(bench.ProcessIds, Is.Empty);
        Assert.That(bench.Loggers.Entries, Is.Empty, "the VM's reset is no trouble");
        await bench.ResetAsync();
        _ = await bench.OpenAsync();
        Assert.That(await bench.CodeOfAsync(TpmCommands.Startup), Is.EqualTo(Success));
    }

    // swtpm reads the cancellation after the command: its answer must not be taken for another's.
    [Test]
    public async Task Cancel_DuringACommand_LaterCommandsAreExecuted()
    {
        await using TpmBench bench = await StartedAsync();
        int id = bench.ProcessIds.Single();
        for (int round = 0; round < 3; round++)
        {
            await SignalAsync("STOP", id);
            TeeRequest request = bench.Request(TpmCommands.CreateKey);
            ThreadRunner<TeeResult> command = new(() => bench.Session!.InvokeCommandAsync(request));
            command.WaitUntilBlocked();
            _ = request.RequestCancellation();
            bench.Partition.Cancel(request);
            await SignalAsync("CONT", id);

            Assert.That((await command.Result).Code, Is.EqualTo(TeeReturnCode.Success));
            Assert.That((await bench.SendAsync(TpmCommands.GetRandom)).Length, Is.EqualTo(28));
        }
    }

    [Test]
    public async Task TwoVmms_SameVm_SecondIsRefused()
    {
        await using TpmBench first = await StartedAsync();
        await using TpmBench second = new(first.Folder);

        Assert.That((await second.OpenAsync()).Code, Is.EqualTo(TeeReturnCode.Generic));
        Assert.That(await first.CodeOfAsync(TpmCommands.GetRandom), Is.EqualTo(Success));
    }

    private static async Task<TpmBench> StartedAsync(Func<FirmwareTpmOptions, FirmwareTpmOptions>? change = null)
    {
        TpmBench bench = new(change: change);
        Assert.That((await bench.OpenAsync()).Code, Is.EqualTo(TeeReturnCode.Success));
        Assert.That(await bench.CodeOfAsync(TpmCommands.Startup), Is.EqualTo(Success));
        return bench;
    }

    private static async Task<byte[]> KeyOfAsync(string folder, byte key)
    {
        await using TpmBench bench = new(folder, key);
        _ = await bench.OpenAsync();
        _ = await bench.SendAsync(TpmCommands.Startup);
        return await bench.SendAsync(TpmCommands.CreateKey);
    }

    private static async Task SignalAsync(string signal, int process)
    {
        using Process kill = Process.Start("kill", [$"-{signal}", $"{process}"]);
        await kill.WaitForExitAsync();
    }
}
