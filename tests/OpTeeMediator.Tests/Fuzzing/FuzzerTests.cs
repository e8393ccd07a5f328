using OpTeeMediator.Fuzzing.Engine;

namespace OpTeeMediator.Tests.Fuzzing;

/// <summary>The fuzzer finds what there is to find.</summary>
internal sealed class FuzzerTests
{
    private string _folder = null!;

    [SetUp]
    public void SetUp() => _folder = Directory.CreateTempSubdirectory("fuzzer").FullName;

    [TearDown]
    public void TearDown() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void Run_PropertyThatDoesNotHold_SavesTheInput()
    {
        using Fuzzer fuzzer = Create(input => !input.IsEmpty && input[0] == 7
            ? throw new PropertyException("no input begins with 7")
            : 0);

        Assert.That(fuzzer.Run(TimeSpan.FromMinutes(5), TextWriter.Null), Is.False);
        string[] findings = Directory.GetFiles(_folder, "planted.crash.*");
        Assert.That(findings, Has.Length.EqualTo(1));
        Assert.That(File.ReadAllBytes(findings[0])[0], Is.EqualTo(7));
    }

    [Test]
    public void Run_MemoryThatIsNotReleased_Fails()
    {
        const int Warm = 20_000;
        const int Leaks = 64;
        List<byte[]> kept = [];
        int executions = 0;
        using StringWriter log = new();
        using Fuzzer fuzzer = Create(_ =>
        {
            if (++executions is > Warm and <= Warm + Leaks)
            {
                kept.Add(new byte[1 << 20]);
            }

            return kept.Count;
        });

        Assert.That(fuzzer.Run(TimeSpan.FromSeconds(3), log), Is.False, () => log.ToString());
    }

    private Fuzzer Create(PlantedTarget.Execution execution) =>
        new("planted", _ => new PlantedTarget(execution), Path.Combine(_folder, "corpus"), _folder, seed: 1);
}
