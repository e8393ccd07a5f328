using System.CommandLine;
using KvmVmm.CommandLine;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;

namespace OpTeeMediator.Tests.Samples;

/// <summary>The command line of KvmVmm.</summary>
[TestFixture]
internal sealed class CommandLineTests
{
    private const string Id1 = "7b7f0d1c-6a0c-4d4b-8a8e-1d0c5f4f0a09";
    private const string Id2 = "5a1c6c0e-92e5-4c0a-9d5e-3f0a4b7d2c11";

    [TestCase("", "Option '--kernel' is required.")]
    [TestCase("--kernel Image --cpus 0", "--cpus: expected a number from 1 to ")]
    [TestCase("--kernel Image --cpus 2 --cpus x", "--cpus: expected a number from 1 to ")]
    [TestCase("--kernel Image --memory 63", "--memory: expected a number from 64 to 16777216, found '63'")]
    [TestCase("--kernel Image --memory", "Required argument missing for option: '--memory'.")]
    [TestCase("--kernel Image --notify maybe", "--notify: expected on or off, found 'maybe'")]
    [TestCase("--kernel Image --notify", "Required argument missing for option: '--notify'.")]
    [TestCase("--kernel Image --tee trustzone", "--tee: expected linux, linux:PATH, software, remote:PATH")]
    [TestCase("--kernel Image --tee remote", "--tee: expected")]
    [TestCase("--kernel Image --tee remote:", "--tee: expected")]
    [TestCase("--kernel Image --tee software:x", "--tee: expected")]
    [TestCase("--kernel Image --allow 1", "--allow: expected all, none, or UUIDs with commas between them, found '1'")]
    [TestCase("--kernel Image --log loud", "--log: expected trace, debug, information, warning, error, critical or")]
    [TestCase("--kernel Image --log 3", "--log: expected")]
    [TestCase("--kernel Image --save x --save-wait 601", "--save-wait: expected a number from 0 to 600, found '601'")]
    [TestCase("--kernel Image --save x --save-wait -1", "--save-wait: expected a number from 0 to 600, found '-1'")]
    [TestCase("--kernel Image --save-sessions keep", "--save-sessions: expected refuse or drop, found 'keep'")]
    [TestCase("--kernel Image --kernels x", "Unrecognized command or argument '--kernels'.")]
    [TestCase("--kernel Image x", "Unrecognized command or argument 'x'.")]
    [TestCase("--kernel Image @arguments", "Unrecognized command or argument '@arguments'.")]
    public void Parse_Wrong_SaysWhatIsExpected(string arguments, string text) =>
        Assert.That(Parse(arguments).Errors.Select(error => error.Message), Has.Some.Contains(text));

    [Test]
    public void Parse_KernelOnly_OthersAreTheDefaults() =>
        Assert.That(OptionsOf("--kernel Image"), Is.EqualTo(new VmmOptions { Kernel = "Image" }));

    [Test]
    public void Parse_EachOption_IsTaken()
    {
        VmmOptions options = OptionsOf(
            "--kernel Image --initrd @initrd --cmdline quiet --disk disk --memory 64 --cpus 2 --tee software "
            + $"--storage db --storage-key key --vm-id {Id1} --notify off --tee-log --trace trace --metrics "
            + "--save save --save-wait 60 --save-sessions drop --restore restore --state-key keyring:name --log Debug");
        Assert.That(options, Is.EqualTo(new VmmOptions
        {
            Kernel = "Image",
            Initrd = "@initrd",
            KernelParameters = "quiet",
            Disk = "disk",
            MemoryMebibytes = 64,
            Cpus = 2,
            Tee = new TeeChoice(TeeKind.Software, null),
            Storage = "db",
            StorageKey = "key",
            VmId = new Guid(Id1),
            HasNotifications = false,
            LogsTee = true,
            Trace = "trace",
            PrintsMetrics = true,
            Save = "save",
            SaveWait = 60,
            DropsSessions = true,
            Restore = "restore",
            StateKey = "keyring:name",
            LogLevel = LogLevel.Debug,
        }));
    }

    [Test]
    public void Parse_OptionTwice_LastOneCounts()
    {
        VmmOptions options = OptionsOf(
            "--kernel Image --cmdline one --cpus 2 --tee software --metrics --metrics --cmdline two --cpus 3 "
            + "--tee remote:/run/tee --notify off --notify on");
        Assert.That(options, Is.EqualTo(new VmmOptions
        {
            Kernel = "Image",
            KernelParameters = "two",
            Cpus = 3,
            Tee = new TeeChoice(TeeKind.Remote, "/run/tee"),
            PrintsMetrics = true,
        }));
    }

    [TestCase("linux", nameof(TeeKind.Linux), null)]
    [TestCase("linux:/dev/tee1", nameof(TeeKind.Linux), "/dev/tee1")]
    [TestCase("companion", nameof(TeeKind.Companion), null)]
    [TestCase("companion:a:b", nameof(TeeKind.Companion), "a:b")]
    public void Parse_Tee_HasKindAndPlace(string text, string kind, string? place) => Assert.That(
        OptionsOf($"--kernel Image --tee {text}").Tee, Is.EqualTo(new TeeChoice(Enum.Parse<TeeKind>(kind), place)));

    [Test]
    public void Parse_Allow_GrantsTheApplicationsNamed()
    {
        TeeAccess access = OptionsOf($"--kernel Image --allow {Id1},{Id2}").Access!;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(access.Allows(new Guid(Id1)), Is.True);
            Assert.That(access.Allows(new Guid(Id2)), Is.True);
            Assert.That(access.Allows(Guid.NewGuid()), Is.False);
            Assert.That(OptionsOf("--kernel Image --allow all").Access, Is.SameAs(TeeAccess.All));
            Assert.That(OptionsOf("--kernel Image --allow none").Access, Is.SameAs(TeeAccess.None));
        }
    }

    [TestCase("--help", "its memory in MiB, 64 to 16777216 [default: 256]")]
    [TestCase("--help", "has not ended then cannot move, 0 to 600 [default: 5]")]
    [TestCase("--list", "OP-TEE's example hello_world")]
    public void Parse_HelpAndList_NeedNoKernel(string option, string text)
    {
        ParseResult line = Parse(option);
        using StringWriter output = new();
        Assert.That(line.Errors, Is.Empty);
        Assert.That(line.Invoke(new InvocationConfiguration { Output = output }), Is.Zero);
        Assert.That(output.ToString(), Does.Contain(text));
    }

    [TestCase("--save-wait 60", "--save-wait is for --save and --migrate-to, which are missing")]
    [TestCase("--save-wait 60 --save state", null)]
    [TestCase("--save-wait 60 --migrate-to /run/vm", null)]
    public void WrongCombination_OptionOfSaving_IsForAVmThatIsSavedOrMoved(string arguments, string? wrong) =>
        Assert.That(OptionsOf($"--kernel Image {arguments}").WrongCombination, Is.EqualTo(wrong));

    private static VmmOptions OptionsOf(string arguments)
    {
        ParseResult line = Parse(arguments);
        Assert.That(line.Errors.Select(error => error.Message), Is.Empty);
        return VmmCommandLine.OptionsOf(line);
    }

    private static ParseResult Parse(string arguments) =>
        VmmCommandLine.Parse(arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries));
}
