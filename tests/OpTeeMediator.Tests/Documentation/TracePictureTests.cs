namespace OpTeeMediator.Tests.Documentation;

/// <summary>The README's picture of a trace is drawn from a real one: a call of the guest-calls program in a guest of
/// samples/KvmVmm, as <c>--trace</c> wrote it.</summary>
/// <remarks>With OPTEE_MEDIATOR_WRITE=1 the picture is drawn again.</remarks>
internal sealed class TracePictureTests
{
    private static readonly string Folder = Path.Combine(Repository.Root, "docs", "images");

    [Test]
    public void Picture_InTheReadme_IsDrawnFromItsTrace()
    {
        string picture = Path.Combine(Folder, "trace.svg");
        string drawn = TracePicture.Draw(File.ReadAllText(Path.Combine(Folder, "trace.json")));
        if (Environment.GetEnvironmentVariable("OPTEE_MEDIATOR_WRITE") == "1")
        {
            File.WriteAllText(picture, drawn);
        }

        Assert.That(File.ReadAllText(picture), Is.EqualTo(drawn));
        Assert.That(Repository.Files.Single(file => file.Path == "README.md").Lines,
            Has.Some.Contains("docs/images/trace.svg"));
    }
}
