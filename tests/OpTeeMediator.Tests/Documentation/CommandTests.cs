namespace OpTeeMediator.Tests.Documentation;

/// <summary>Each command of the README, the guide, and the pages of packages and samples is run by a test, which reads
/// it from the page, or it is said why not.</summary>
internal sealed class CommandTests
{
    private const string Script = "tests/commands/run";
    private const string Ci = ".ci/run";
    private const string SoftwareTee = "tests/OpTeeMediator.MachineTests/SoftwareTeeTests.cs";
    private const string LinuxTee = "tests/OpTeeMediator.MachineTests/LinuxTeeTests.cs";
    private const string Troubleshooting = "tests/OpTeeMediator.MachineTests/TroubleshootingTests.cs";
    private const string Readme = "README.md";
    private const string FirstRun = "docs/guide/first-run.md";
    private const string Daemon = "docs/guide/daemon.md";
    private const string Fence = "```";

    private static readonly DocumentedCommand[] Commands =
    [
        new(Readme, "so make them in a clone of this repository", Script),
        new(Readme, "A template has the places for the parts of a real VMM", Script),
        new(Readme, "dotnet run", Script),
        new(Readme, "dotnet run -c Release --project samples/MinimalVmm", Script),
        new(Readme, "dotnet run -c Release --project benchmarks/OpTeeMediator.Benchmarks -- --readme", null,
            ".ci/run adds --no-build"),
        new(Readme, "tests/run", Ci),
        new(FirstRun, "## A guest in one second", Script),
        new(FirstRun, "On Debian 12, as root the first time", null,
            "needs a terminal; the tests boot the same machine by tests/machines/boot, which it calls"),
        new(FirstRun, "starts Debian's kernel as a guest", SoftwareTee),
        new(FirstRun, "See what its driver said", SoftwareTee),
        new(FirstRun, "The next guest gets the host's OP-TEE", LinuxTee),
        new(FirstRun, "poweroff -f", "tests/OpTeeMediator.Machines/Guest.cs"),
        new(FirstRun, "tests/run", Ci),
        new(Daemon, "From a clone, on any Linux", Script),
        new(Daemon, "As a service it is published", Script,
            "under another root; with tests/run --full also where systemd runs (tests/service/boot)"),
        new("docs/guide/troubleshooting.md", "dmesg | grep optee", SoftwareTee),
        new("docs/guide/troubleshooting.md", "modprobe optee", Troubleshooting),
        new("samples/MinimalVmm/README.md", "in ten minutes", Script),
    ];

    private static readonly HashSet<string> Programs =
    [
        "apt", "apt-get", "cp", "curl", "dmesg", "docker", "dotnet", "git", "kvmvmm", "ls", "modprobe", "poweroff",
        "sudo", "sum", "systemctl", "systemd-run", "xtest",
    ];

    // What a block of text can be if it is no commands.
    private static readonly HashSet<string> Others = ["csharp", "dts", "ini", "mermaid", "text"];

    private static readonly IReadOnlyList<RepositoryFile> Pages =
    [
        .. Repository.Files.Where(file => file.IsMarkdown && (file.Path == Readme
            || file.Path.StartsWith("docs/guide/", StringComparison.Ordinal)
            || file.Path.StartsWith("src/", StringComparison.Ordinal)
            || file.Path.StartsWith("samples/", StringComparison.Ordinal))),
    ];

    [Test]
    public void Blocks_OfThePages_AreOfAKnownKind() => Assert.That(
        Pages.SelectMany(page => Openings(page).Select(line => page.Lines[line][Fence.Length..])
            .Where(kind => kind != "sh" && !Others.Contains(kind)).Select(kind => $"{page.Path}: '{kind}'")),
        Is.Empty);

    [Test]
    public void Commands_OfThePages_AreListedHere()
    {
        IEnumerable<string> found = Pages.SelectMany(page =>
            Inline(page).Concat(BlocksOf(page).Select(Named)).Select(text => $"{page.Path}: {text}"));
        string[] listed = [.. Commands.Select(command => $"{command.Page}: {command.Text}")];

        Assert.That(found.Distinct(), Is.EquivalentTo(listed));
    }

    [TestCaseSource(nameof(Commands))]
    public void Command_OfAPage_IsRunOrItIsSaidWhyNot(DocumentedCommand command)
    {
        if (command.RunBy is null)
        {
            Assert.That(command.Reason, Is.Not.Empty);
            return;
        }

        Assert.That(File.ReadAllText(Path.Combine(Repository.Root, command.RunBy)), Does.Contain(command.Text));
    }

    private static IEnumerable<(RepositoryFile Page, int Line)> BlocksOf(RepositoryFile page) =>
        Openings(page).Where(line => page.Lines[line] == Fence + "sh").Select(line => (page, line));

    // The listed text that leads to this block, and not to one before it; or the block's first line.
    private static string Named((RepositoryFile Page, int Line) block)
    {
        int before = Openings(block.Page).Where(line => line < block.Line).DefaultIfEmpty(-1).Max();
        string prose = string.Join('\n', block.Page.Lines.Take(block.Line).Skip(before + 1));
        return Commands.FirstOrDefault(command =>
                command.Page == block.Page.Path && prose.Contains(command.Text, StringComparison.Ordinal)
                && !Inline(block.Page).Contains(command.Text))?.Text
            ?? block.Page.Lines[block.Line + 1];
    }

    private static IEnumerable<int> Openings(RepositoryFile page) => page.Lines.Index()
        .Where(line => line.Item.StartsWith(Fence, StringComparison.Ordinal)).Select(line => line.Index)
        .Where((_, count) => count % 2 == 0);

    // A command may go on in the next line.
    private static IEnumerable<string> Inline(RepositoryFile page) => Paragraphs(page)
        .SelectMany(text => text.Split('`').Where((_, index) => index % 2 == 1)).Where(IsCommand);

    private static IEnumerable<string> Paragraphs(RepositoryFile page)
    {
        List<string> lines = [];
        bool isBlock = false;
        foreach (string line in page.Lines)
        {
            if (line.StartsWith(Fence, StringComparison.Ordinal))
            {
                isBlock = !isBlock;
            }
            else if (!isBlock && line.Length > 0)
            {
                lines.Add(line);
                continue;
            }

            yield return string.Join(' ', lines);
            lines.Clear();
        }

        yield return string.Join(' ', lines);
    }

    private static bool IsCommand(string span)
    {
        string[] words = span.Split(' ');
        return (words.Length > 1 && Programs.Contains(words[0])) || IsScript(Path.Combine(Repository.Root, words[0]));
    }

    private static bool IsScript(string path) => File.Exists(path)
        && (OperatingSystem.IsWindows() || (File.GetUnixFileMode(path) & UnixFileMode.UserExecute) != 0);
}
