using System.Diagnostics;
using System.Reflection;
using OpTeeMediator.SoftwareTee.Linux;

namespace OpTeeMediator.StorageTests;

/// <summary>Both engines as NativeAOT compiles them: a program that stores an object and finds it again.</summary>
internal sealed class NativeAotTests
{
    private readonly string _folder = Directory.CreateTempSubdirectory("storage-tests.").FullName;

    private string KeyFile => Path.Combine(_folder, "key");

    [OneTimeSetUp]
    public void Publish()
    {
        TeeKeyFile.Create(KeyFile);
        string project = typeof(NativeAotTests).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>()
            .Single(attribute => attribute.Key == "StorageChecks").Value!;

        // A folder of its own for what the build makes: the test run must not change what others use.
        Run("dotnet", "publish", project, "-c", "Release", "-o", Path.Combine(_folder, "program"), "-nologo",
            "--artifacts-path", Path.Combine(_folder, "artifacts"));
    }

    [OneTimeTearDown]
    public void TearDown() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void Sqlite_Published_StoresAndFindsAnObject() => Check("sqlite", Path.Combine(_folder, "store.db"));

    [Test]
    public void PostgreSql_Published_StoresAndFindsAnObject()
    {
        using PostgreSqlServer server = PostgreSqlServer.StartNew();
        Check("postgres", server.ConnectionString);
    }

    private void Check(string kind, string place)
    {
        string program = Path.Combine(_folder, "program", "storage-checks");
        for (int count = 1; count <= 3; count++)
        {
            Assert.That(Run(program, kind, place, KeyFile).Trim(), Is.EqualTo($"{count}"));
        }
    }

    private static string Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments)
        {
            RedirectStandardOutput = true,
        })!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.That(process.ExitCode, Is.Zero, $"{program} {string.Join(' ', arguments)}\n{output}");
        return output;
    }
}
