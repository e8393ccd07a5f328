using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>Files of the guest's supplicant: one that does as the real one, and ones that lie.</summary>
internal sealed class GuestFileTests
{
    [TestCase(0)]
    [TestCase(1)]
    [TestCase(16 << 10)]
    [TestCase((16 << 10) + 1)]
    [TestCase(100_000)]
    public async Task WriteAndRead_AnySize_GivesTheContentBack(int size)
    {
        byte[] written = new byte[size];
        new Random(7).NextBytes(written);
        byte[] read = new byte[size + 10];
        int length = -1;
        await using GuestCallBench bench = Create(files =>
        {
            using (GuestFile file = files.Create("directory/name", out _)!)
            {
                _ = file.Write(0, written);
            }

            using GuestFile again = files.Open("directory/name", out _)!;
            return again.Read(0, read, out length);
        });

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(bench.Supplicant.Files["directory/name"], Is.EqualTo(written));
        Assert.That(length, Is.EqualTo(size));
        Assert.That(read[..size], Is.EqualTo(written));
        Assert.That((bench.Supplicant.Open, bench.Services.Memory.Count), Is.EqualTo((0, 0)));
    }

    [Test]
    public async Task Read_InTheMiddleAndBeyondTheEnd_GivesWhatIsThere()
    {
        byte[] bytes = new byte[4];
        List<int> lengths = [];
        await using GuestCallBench bench = Create(files =>
        {
            using GuestFile file = files.Create("name", out _)!;
            _ = file.Write(2, [1, 2, 3, 4, 5]);
            _ = file.SetLength(6);
            _ = file.Read(4, bytes, out int length);
            lengths.Add(length);
            TeeReturnCode code = file.Read(long.MaxValue, bytes, out length);
            lengths.Add(length);
            return code;
        });

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(lengths, Is.EqualTo([2, 0]));
        Assert.That(bytes[..2], Is.EqualTo([3, 4]));
        Assert.That(bench.Supplicant.Files["name"], Is.EqualTo([0, 0, 1, 2, 3, 4]));
    }

    [TestCase(0, 0, TeeReturnCode.Success)]
    [TestCase(1, 0, TeeReturnCode.ExcessData)]
    [TestCase(100_000, 100_000, TeeReturnCode.Success)]
    [TestCase(100_000, int.MaxValue, TeeReturnCode.Success)]
    [TestCase(100_000, 99_999, TeeReturnCode.ExcessData)]
    [TestCase(16 << 10, 16 << 10, TeeReturnCode.Success)]
    public async Task ReadAll_AnySize_IsLimited(int size, int maximum, TeeReturnCode expected)
    {
        byte[] written = new byte[size];
        new Random(7).NextBytes(written);
        byte[] content = [];
        await using GuestCallBench bench = Create(files =>
        {
            using GuestFile file = files.Create("name", out _)!;
            _ = file.Write(0, written);
            return file.ReadAll(maximum, out content);
        });

        Assert.That(bench.Invoke(), Is.EqualTo(expected));
        Assert.That(content, Is.EqualTo(expected == TeeReturnCode.Success ? written : []));
    }

    [Test]
    public async Task OpenRemoveRename_Codes_AreTheSupplicants()
    {
        List<TeeReturnCode> codes = [];
        await using GuestCallBench bench = Create(files =>
        {
            Assert.That(files.Open("name", out TeeReturnCode code), Is.Null);
            codes.Add(code);
            codes.Add(files.Remove("name"));
            files.Create("name", out _)!.Dispose();
            files.Create("other", out _)!.Dispose();
            codes.Add(files.Rename("name", "other", replaces: false));
            codes.Add(files.Rename("name", "other", replaces: true));
            codes.Add(files.Remove("name"));
            return files.Remove("other");
        });

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(codes, Is.EqualTo([
            TeeReturnCode.ItemNotFound, TeeReturnCode.ItemNotFound, TeeReturnCode.AccessConflict, TeeReturnCode.Success,
            TeeReturnCode.ItemNotFound]));
        Assert.That(bench.Supplicant.Files, Is.Empty);
    }

    [Test]
    public async Task OpenDirectory_TwoFiles_NamesBothAndEnds()
    {
        List<string> names = [];
        TeeReturnCode none = TeeReturnCode.Success;
        await using GuestCallBench bench = Create(files =>
        {
            files.Create("directory/one", out _)!.Dispose();
            files.Create("directory/zwei ü", out _)!.Dispose();
            _ = files.OpenDirectory("nowhere", out none);
            using GuestDirectory directory = files.OpenDirectory("directory", out _)!;
            TeeReturnCode code;
            while ((code = directory.Read(out string name)) == TeeReturnCode.Success)
            {
                names.Add(name);
            }

            return code;
        });

        Assert.That((bench.Invoke(), none), Is.EqualTo((TeeReturnCode.ItemNotFound, TeeReturnCode.ItemNotFound)));
        Assert.That(names, Is.EqualTo(["one", "zwei ü"]));
        Assert.That(bench.Supplicant.Open, Is.Zero);
    }

    [TestCase("")]
    [TestCase("..")]
    [TestCase("../etc/passwd")]
    [TestCase("a/../../b")]
    [TestCase("a/..")]
    [TestCase("a\0b")]
    public async Task AnyCall_NameLeavesTheFolder_BadParametersWithoutAskingTheGuest(string name)
    {
        List<TeeReturnCode> codes = [];
        await using GuestCallBench bench = Create(files =>
        {
            _ = files.Open(name, out TeeReturnCode opened);
            _ = files.Create(name, out TeeReturnCode created);
            _ = files.OpenDirectory(name, out TeeReturnCode listed);
            codes.AddRange([opened, created, listed, files.Rename(name, "b", replaces: true)]);
            return files.Remove(name);
        });

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.BadParameters));
        Assert.That(codes, Is.All.EqualTo(TeeReturnCode.BadParameters));
        Assert.That(bench.Services.Calls, Is.Empty);
    }

    [Test]
    public async Task Create_HalfASurrogatePair_BadParameters()
    {
        // Not in an attribute, which is kept as UTF-8.
        string name = new('\ud800', 1);
        await using GuestCallBench bench = Create(files =>
        {
            using GuestFile? file = files.Create(name, out TeeReturnCode code);
            return code;
        });

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.BadParameters));
        Assert.That(bench.Services.Calls, Is.Empty);
    }

    [TestCase(GuestFileSystem.LongestName, TeeReturnCode.Success)]
    [TestCase(GuestFileSystem.LongestName + 1, TeeReturnCode.BadParameters)]
    public async Task Create_LongName_IsBounded(int length, TeeReturnCode expected)
    {
        string name = new('n', length);
        await using GuestCallBench bench = Create(files =>
        {
            using GuestFile? file = files.Create(name, out TeeReturnCode code);
            return code;
        });

        Assert.That(bench.Invoke(), Is.EqualTo(expected));
        Assert.That(bench.Supplicant.Files.Keys,
            Is.EqualTo(expected == TeeReturnCode.Success ? [name] : Array.Empty<string>()));
    }

    [Test]
    public async Task Create_NameWithHarmlessDots_Success()
    {
        await using GuestCallBench bench = Create(files =>
        {
            using GuestFile? file = files.Create("a..b/...", out TeeReturnCode code);
            return code;
        });

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public async Task LeftOpen_CommandEndsOrPanics_IsClosed([Values] bool panics)
    {
        await using GuestCallBench bench = Create(files =>
        {
            _ = files.Create("directory/one", out _);
            _ = files.Create("directory/two", out _);
            _ = files.OpenDirectory("directory", out TeeReturnCode code);
            return panics ? throw new FormatException() : code;
        });

        Assert.That(bench.Invoke(), Is.EqualTo(panics ? TeeReturnCode.TargetDead : TeeReturnCode.Success));
        Assert.That((bench.Supplicant.Open, bench.Services.Memory.Count), Is.EqualTo((0, 0)));
    }

    [Test]
    public async Task KeptForTheNextCommand_CannotBeUsed()
    {
        GuestFile? kept = null;
        await using GuestCallBench bench = Create(files =>
        {
            bool isFirst = kept is null;
            kept ??= files.Create("name", out _);
            return isFirst ? TeeReturnCode.Success : kept!.Write(0, [1]);
        });
        _ = bench.Invoke();

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.TargetDead));
        Assert.That(bench.Panics.Single(), Is.InstanceOf<ObjectDisposedException>());
    }

    [TestCase(5ul)]
    [TestCase(0ul)]
    [TestCase(ulong.MaxValue)]
    public async Task Open_GuestGivesOneNumberToAll_EachIsClosedOnce(ulong number)
    {
        await using GuestCallBench bench = Create(files =>
        {
            using GuestFile one = files.Open("one", out _)!;
            using GuestFile two = files.Open("two", out _)!;
            _ = files.OpenDirectory("three", out _);
            return TeeReturnCode.Success;
        });
        List<GuestParameter> asked = [];
        bench.Services.OnSupplicant = message =>
        {
            asked.Add(message.Parameters[0]);
            return message with { ReturnCode = 0, Parameters = [.. message.Parameters.Select(parameter =>
                parameter.Attributes == OpTeeMessage.TypeValueOutput ? parameter with { A = number } : parameter)] };
        };

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(asked[3..], Is.EqualTo(new[]
        {
            GuestParameter.ValueIn(OpTeeRpc.FileClose, number),
            GuestParameter.ValueIn(OpTeeRpc.FileClose, number),
            GuestParameter.ValueIn(OpTeeRpc.DirectoryClose, number),
        }));
    }

    [TestCase(5ul)]
    [TestCase(ulong.MaxValue)]
    public async Task Read_GuestClaimsMoreThanFits_Security(ulong size)
    {
        byte[] bytes = new byte[4];
        int length = -1;
        await using GuestCallBench bench = Create(files =>
        {
            using GuestFile file = files.Open("name", out _)!;
            return file.Read(0, bytes, out length);
        });
        bench.Services.OnSupplicant = message => message with { ReturnCode = 0,
            Parameters = [.. message.Parameters.Select(parameter => parameter with { B = size })] };

        Assert.That((bench.Invoke(), length), Is.EqualTo((TeeReturnCode.Security, 0)));
        Assert.That(bytes, Is.All.Zero);
    }

    [Test]
    public async Task ReadDirectory_GuestNamesGarbage_IsAString()
    {
        string name = "";
        await using GuestCallBench bench = Create(files =>
        {
            using GuestDirectory directory = files.OpenDirectory("name", out _)!;
            return directory.Read(out name);
        });
        bench.Services.OnSupplicant = message =>
        {
            if (message.Parameters[0].A != OpTeeRpc.DirectoryRead)
            {
                return message with { ReturnCode = 0 };
            }

            bench.Driver.Write<byte>(bench.Services.Memory.Values.Single()[0],
                [0xff, 0xfe, (byte)'a', 0, (byte)'b', 0]);
            return message
                with { ReturnCode = 0, Parameters = [message.Parameters[0], message.Parameters[1] with { B = 6 }] };
        };

        Assert.That((bench.Invoke(), name), Is.EqualTo((TeeReturnCode.Success, "\ufffd\ufffda")));
    }

    [Test]
    public async Task AnyCall_GuestHasNoMemory_OutOfMemory()
    {
        await using GuestCallBench bench = Create(files => files.Remove("name"));
        bench.Driver.OnRpc = message => message with { ReturnCode = (uint)TeeReturnCode.OutOfMemory };

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.OutOfMemory));
    }

    [Test]
    public async Task Files_TwoApplicationsCommands_ShareMemoryWithinACommandOnly()
    {
        await using GuestCallBench bench = Create(files =>
        {
            files.Create("one", out _)!.Dispose();
            return files.Remove("one");
        });

        Assert.That((bench.Invoke(), bench.Invoke()), Is.EqualTo((TeeReturnCode.Success, TeeReturnCode.Success)));
        Assert.That(bench.Services.Calls.Count(asked => asked.Command == OpTeeRpc.AllocateSharedMemory), Is.EqualTo(2),
            "One for each command.");
        Assert.That(bench.Services.Memory, Is.Empty);
    }

    private static GuestCallBench Create(Func<GuestFileSystem, TeeReturnCode> whenInvoked) =>
        new(SoftwareTeeBench.PerSession, call => new(whenInvoked(call.Guest.Files)));
}
