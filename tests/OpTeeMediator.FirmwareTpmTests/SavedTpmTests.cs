using System.Buffers.Binary;
using System.Security.Cryptography;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.FirmwareTpm;
using OpTeeMediator.State;
using OpTeeMediator.Tests.SoftwareTee;

namespace OpTeeMediator.FirmwareTpmTests;

/// <summary>A VM's TPM goes on in another process, over a real swtpm.</summary>
internal sealed class SavedTpmTests
{
    private const uint Success = 0;
    private const uint Failure = 0x101;

    // The first use of a key may get it, before as after a restore; Linux's driver repeats the command then.
    private const uint Retry = 0x922;

    private string _folder = "";

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("tpm").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task Restore_SwtpmKilled_PcrsObjectsSessionsAndNvGoOn([Values] bool isOtherFolder)
    {
        await using TpmBench bench = await StartedAsync();
        foreach (byte[] command in (byte[][])[
            TpmCommands.ExtendPcr, TpmCommands.CreateKey, TpmCommands.StartPolicySession, TpmCommands.ChangePolicy,
            TpmCommands.DefineCounter, TpmCommands.Increment, TpmCommands.Increment])
        {
            Assert.That(await bench.CodeOfAsync(command), Is.EqualTo(Success));
        }

        byte[] pcr = TpmCommands.DigestOf(await bench.SendAsync(TpmCommands.ReadPcr));
        byte[] policy = await bench.SendAsync(TpmCommands.ReadPolicy);
        byte[] key = await bench.SendAsync(TpmCommands.ReadFirstKey);
        ulong count = TpmCommands.CountOf(await bench.SendAsync(TpmCommands.ReadCounter));
        byte[] state = await bench.SaveAsync();
        await bench.KillEnginesAsync();

        string target = isOtherFolder ? Path.Combine(_folder, "2") : _folder;
        await using TpmBench restored = new(target);
        await restored.RestoreAsync(state);

        Assert.That(TpmCommands.DigestOf(await restored.SendAsync(TpmCommands.ReadPcr)), Is.EqualTo(pcr));
        Assert.That(await restored.SendAsync(TpmCommands.ReadPolicy), Is.EqualTo(policy));
        Assert.That(await restored.SendAsync(TpmCommands.ReadFirstKey), Is.EqualTo(key));
        uint code = await restored.CodeOfAsync(TpmCommands.SealUnderFirstKey);
        Assert.That(
            code == Retry ? await restored.CodeOfAsync(TpmCommands.SealUnderFirstKey) : code, Is.EqualTo(Success));
        Assert.That(await restored.CodeOfAsync(TpmCommands.Increment), Is.EqualTo(Success));
        Assert.That(
            TpmCommands.CountOf(await restored.SendAsync(TpmCommands.ReadCounter)), Is.EqualTo(count + 1));
    }

    [Test]
    public async Task Restore_NoSessionWasOpen_PcrsGoOnAndTheResetMakesThemZero()
    {
        await using TpmBench bench = await StartedAsync();
        _ = await bench.SendAsync(TpmCommands.ExtendPcr);
        byte[] pcr = TpmCommands.DigestOf(await bench.SendAsync(TpmCommands.ReadPcr));
        await bench.CloseAsync();
        byte[] state = await bench.SaveAsync();
        await bench.KillEnginesAsync();

        await using TpmBench restored = new(_folder);
        await restored.RestoreAsync(state, sessions: 0);
        _ = await restored.OpenAsync();
        Assert.That(TpmCommands.DigestOf(await restored.SendAsync(TpmCommands.ReadPcr)), Is.EqualTo(pcr));

        await restored.ResetAsync();
        _ = await restored.OpenAsync();
        Assert.That(await restored.CodeOfAsync(TpmCommands.Startup), Is.EqualTo(Success));
        Assert.That(TpmCommands.DigestOf(await restored.SendAsync(TpmCommands.ReadPcr)), Is.EqualTo(new byte[32]));
    }

    [Test]
    public async Task Save_TpmGoesOn_NothingOfItIsLeftInTheFolder()
    {
        await using TpmBench bench = await StartedAsync();
        _ = await bench.SaveAsync();

        Assert.That(await bench.CodeOfAsync(TpmCommands.ExtendPcr), Is.EqualTo(Success));
        Assert.That(FilesOfVm(), Is.EquivalentTo((string[])[".lock", "tpm2-00.permall"]));
    }

    // What a crash in the middle of saving leaves.
    [Test]
    public async Task Start_VolatileStateOfAnEarlierStartIsLeft_PcrsAreZero()
    {
        byte[] left;
        await using (TpmBench bench = await StartedAsync())
        {
            _ = await bench.SendAsync(TpmCommands.ExtendPcr);
            byte[] blob = BlobOf(await bench.SaveAsync(), 1);

            // The file has what the blob has behind its header and a tag, with a header of its own.
            left = [2, 1, 0, 10, 0, 9, 0, 0, 0, 0, .. blob.AsSpan(16)];
            BinaryPrimitives.WriteInt32BigEndian(left.AsSpan(6), left.Length);
        }

        await File.WriteAllBytesAsync(Path.Combine(VmFolder, "tpm2-00.volatilestate"), left);
        await using TpmBench again = await StartedAsync();
        Assert.That(TpmCommands.DigestOf(await again.SendAsync(TpmCommands.ReadPcr)), Is.EqualTo(new byte[32]));
    }

    /// <summary>A restore that fails after the TPM's part of it, or is not resumed, brings no older NV memory back.
    /// </summary>
    [Test]
    public async Task Abandon_RestoredTpm_FolderHoldsWhatItHeldBefore([Values] bool isOtherFolder)
    {
        byte[] state;
        byte[] newest;
        await using (TpmBench bench = await StartedAsync())
        {
            Assert.That(await bench.CodeOfAsync(TpmCommands.DefineCounter), Is.EqualTo(Success));
            Assert.That(await bench.CodeOfAsync(TpmCommands.Increment), Is.EqualTo(Success));
            state = await bench.SaveAsync();
            Assert.That(await bench.CodeOfAsync(TpmCommands.Increment), Is.EqualTo(Success));
            newest = await bench.SendAsync(TpmCommands.ReadCounter);
        }

        string target = isOtherFolder ? Path.Combine(_folder, "2") : _folder;
        await using (TpmBench restored = new(target))
        {
            await restored.RestoreAsync(state);
            ((ISavableTeePartition)restored.Partition).Abandon();
        }

        if (isOtherFolder)
        {
            Assert.That(Directory.GetFiles(target, "*permall", SearchOption.AllDirectories), Is.Empty);
            return;
        }

        Assert.That(FilesOfVm(), Is.EquivalentTo((string[])[".lock", "tpm2-00.permall"]));
        await using TpmBench again = await StartedAsync();
        Assert.That(
            TpmCommands.CountOf(await again.SendAsync(TpmCommands.ReadCounter)),
            Is.EqualTo(TpmCommands.CountOf(newest)));
    }

    [Test]
    public async Task Commit_RestoredTpmIsUsedOrEnds_FolderHoldsWhatWasRestored([Values] bool isUsed)
    {
        byte[] state;
        ulong count;
        await using (TpmBench bench = await StartedAsync())
        {
            Assert.That(await bench.CodeOfAsync(TpmCommands.DefineCounter), Is.EqualTo(Success));
            Assert.That(await bench.CodeOfAsync(TpmCommands.Increment), Is.EqualTo(Success));
            count = TpmCommands.CountOf(await bench.SendAsync(TpmCommands.ReadCounter));
            state = await bench.SaveAsync();
            Assert.That(await bench.CodeOfAsync(TpmCommands.Increment), Is.EqualTo(Success));
        }

        await using (TpmBench restored = new(_folder))
        {
            await restored.RestoreAsync(state);
            Assert.That(FilesOfVm(), Does.Contain("replaced.permall"));
            ((ISavableTeePartition)restored.Partition).Commit();
            if (isUsed)
            {
                Assert.That(await restored.CodeOfAsync(TpmCommands.GetRandom), Is.EqualTo(Success));
                Assert.That(FilesOfVm(), Is.EquivalentTo((string[])[".lock", "tpm2-00.permall"]));
            }
        }

        Assert.That(FilesOfVm(), Is.EquivalentTo((string[])[".lock", "tpm2-00.permall"]));
        await using TpmBench again = await StartedAsync();
        Assert.That(TpmCommands.CountOf(await again.SendAsync(TpmCommands.ReadCounter)), Is.EqualTo(count));
    }

    [Test]
    public async Task Restore_TheSavedTpmStillRuns_IsRefusedAndItGoesOn()
    {
        await using TpmBench bench = await StartedAsync();
        byte[] state = await bench.SaveAsync();
        int[] running = bench.ProcessIds;
        await using TpmBench second = new(_folder);

        Assert.That(() => second.RestoreAsync(state), Throws.TypeOf<OpTeeStateException>()
            .With.Message.Contains("has another process this VM's TPM"));

        Assert.That(bench.ProcessIds, Is.EqualTo(running));
        Assert.That(FilesOfVm(), Is.EquivalentTo((string[])[".lock", "tpm2-00.permall"]));
        Assert.That(await bench.CodeOfAsync(TpmCommands.GetRandom), Is.EqualTo(Success));
    }

    // The end of a killed VMM takes its swtpm a moment.
    [Test]
    public async Task Restore_TheSavedTpmEndsMeanwhile_Waits()
    {
        await using TpmBench bench = await StartedAsync();
        byte[] state = await bench.SaveAsync();
        await using TpmBench second = new(_folder);

        Task restoring = Task.Run(() => second.RestoreAsync(state));
        await bench.KillEnginesAsync();

        await restoring;
        Assert.That(await second.CodeOfAsync(TpmCommands.GetRandom), Is.EqualTo(Success));
    }

    [Test]
    public async Task Restore_SavedAfterAFailure_FailsUntilTheReset()
    {
        await using TpmBench bench = await StartedAsync();
        await bench.KillEnginesAsync();
        Assert.That(await bench.CodeOfAsync(TpmCommands.GetRandom), Is.EqualTo(Failure));
        byte[] state = await bench.SaveAsync();

        await using TpmBench restored = new(_folder);
        await restored.RestoreAsync(state);
        Assert.That(await restored.CodeOfAsync(TpmCommands.Startup), Is.EqualTo(Failure));
        await restored.ResetAsync();
        _ = await restored.OpenAsync();
        Assert.That(await restored.CodeOfAsync(TpmCommands.Startup), Is.EqualTo(Success));
    }

    [Test]
    public async Task Save_SwtpmIsGone_IsRefused()
    {
        await using TpmBench bench = await StartedAsync();
        await bench.KillEnginesAsync();

        Assert.That(bench.SaveAsync, Throws.TypeOf<OpTeeStateException>().With.Message.Contains("cannot be saved"));
    }

    [Test]
    public async Task Restore_StateOfAnotherRootKeyOrChanged_IsRefusedAndNothingChanges([Values] bool isChanged)
    {
        await using TpmBench bench = await StartedAsync();
        byte[] state = await bench.SaveAsync();
        await bench.KillEnginesAsync();
        byte[] before = await DigestAsync();
        if (isChanged)
        {
            state[state.Length / 2] ^= 1;
        }

        await using TpmBench restored = new(_folder, key: isChanged ? (byte)1 : (byte)2);

        Assert.That(() => restored.RestoreAsync(state), Throws.TypeOf<OpTeeStateException>()
            .With.Message.Contains("changed, or saved by a VM of another identity or root key"));
        Assert.That(restored.ProcessIds, Is.Empty);
        Assert.That(await DigestAsync(), Is.EqualTo(before));
    }

    // What only a holder of the keys could write: swtpm's own checks.
    [Test]
    public async Task Restore_BlobsThatSwtpmRefuses_AreRefusedAndNothingChanges()
    {
        EngineLauncher launcher = new(new FirmwareTpmOptions(_folder));
        TeeVirtualMachine machine =
            new("vm", TeeAccess.All, 4, new RecordingLoggers()) { Identity = TpmBench.Machine };
        byte[] key = new byte[EngineLauncher.KeyLength];
        TpmEngine first = await launcher.StartAsync(machine, key);
        _ = await first.ExecuteAsync(TpmCommands.Startup, new byte[TpmMessage.MaximumLength], CancellationToken.None);
        TpmBlobs good = await launcher.SaveAsync(first);
        await first.AbortAsync();
        byte[] permanent = good.Blobs[0].ToArray();
        byte[] state = good.Blobs[1].ToArray();
        byte[] flipped = [.. state];
        flipped[state.Length / 2] ^= 1;
        byte[] before = await DigestAsync();
        foreach (byte[][] bad in (byte[][][])[
            [permanent, flipped, []], [permanent, state[..^1], []], [permanent, [.. state, 0], []],
            [state, permanent, []], [permanent, new byte[TpmBlobs.MaximumLength], []]])
        {
            TpmBlobs blobs = new([.. bad.Select(blob => (ReadOnlyMemory<byte>)blob)]);
            Assert.That(() => launcher.StartAsync(machine, key, blobs),
                Throws.TypeOf<EngineException>().With.Message.Contains("it refuses the saved state blob"));
            Assert.That(await DigestAsync(), Is.EqualTo(before));
        }

        await using TpmEngine second = await launcher.StartAsync(machine, key, good);
    }

    [Test]
    public void Read_EachCutEachFlipAndMore_IsRefused()
    {
        byte[] key = new byte[TpmBlobs.KeyLength];
        byte[] state = Written(key, [[1, 2, 3], [4, 5], []]);
        Assert.That(TpmBlobs.Read(state, key, out bool hasFailed)!.Blobs[1].ToArray(), Is.EqualTo(new byte[] { 4, 5 }));
        Assert.That(hasFailed, Is.False);
        for (int length = 0; length < state.Length; length++)
        {
            Refuses(state[..length], key);
        }

        for (int bit = 0; bit < state.Length * 8; bit++)
        {
            byte[] changed = [.. state];
            changed[bit / 8] ^= (byte)(1 << (bit % 8));
            Refuses(changed, key);
        }

        Refuses([.. state, 0], key);
    }

    [Test]
    public void Read_AuthenticButMalformed_IsRefused()
    {
        byte[] key = new byte[TpmBlobs.KeyLength];
        Refuses(Written(key, [[], [1], []]), key);
        Refuses(Written(key, [[1], [], []]), key);
        Refuses(Written(key, [[1], [1], new byte[TpmBlobs.MaximumLength + 1]]), key);
        Refuses(Written(key, [[1], [1]]), key);
        Refuses(Written(key, [[1], [1], [], []]), key);
        Assert.That(TpmBlobs.Read(Written(key, [[1], [1], new byte[TpmBlobs.MaximumLength]]), key, out _), Is.Not.Null);
        foreach (byte[] content in (byte[][])[[1, 3], [1, 0, 0], [1, 2, 255, 255, 255, 255], [2, 0]])
        {
            Refuses([.. content, .. HMACSHA256.HashData(key, content)], key);
        }
    }

    private static void Refuses(byte[] state, byte[] key) =>
        Assert.That(() => TpmBlobs.Read(state, key, out _), Throws.TypeOf<EngineException>());

    private static byte[] Written(byte[] key, byte[][] blobs)
    {
        System.Buffers.ArrayBufferWriter<byte> state = new();
        TpmBlobs.Write(state, new TpmBlobs([.. blobs.Select(blob => (ReadOnlyMemory<byte>)blob)]), false, key);
        return state.WrittenSpan.ToArray();
    }

    private static byte[] BlobOf(ReadOnlySpan<byte> state, int index)
    {
        // After the kind of TEE, the number of instances, the application and the length of its state; version and
        // content.
        ReadOnlySpan<byte> rest = state[30..];
        while (true)
        {
            int length = BinaryPrimitives.ReadInt32LittleEndian(rest);
            if (index-- == 0)
            {
                return rest.Slice(sizeof(int), length).ToArray();
            }

            rest = rest[(sizeof(int) + length)..];
        }
    }

    private IEnumerable<string?> FilesOfVm() => Directory.GetFiles(VmFolder).Select(Path.GetFileName);

    private string VmFolder => Path.Combine(_folder, TpmBench.Machine.ToString("D"));

    private async Task<byte[]> DigestAsync() =>
        SHA256.HashData(await File.ReadAllBytesAsync(Path.Combine(VmFolder, "tpm2-00.permall")));

    private async Task<TpmBench> StartedAsync()
    {
        TpmBench bench = new(_folder);
        Assert.That((await bench.OpenAsync()).Code, Is.EqualTo(TeeReturnCode.Success));
        Assert.That(await bench.CodeOfAsync(TpmCommands.Startup), Is.EqualTo(Success));
        return bench;
    }
}
