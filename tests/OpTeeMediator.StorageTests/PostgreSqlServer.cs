using System.Diagnostics;

namespace OpTeeMediator.StorageTests;

/// <summary>A PostgreSQL server of Debian's package in a temporary folder, on a Unix socket alone.</summary>
internal sealed class PostgreSqlServer : IDisposable
{
    private const string Packages = "/usr/lib/postgresql";

    // PostgreSQL refuses to run as root; the package makes this user.
    private const string User = "postgres";

    private readonly string _folder = Directory.CreateTempSubdirectory("pg.").FullName;
    private readonly string _programs;

    private PostgreSqlServer(string programs)
    {
        _programs = programs;
        if (Environment.IsPrivilegedProcess)
        {
            Run("chown", User, _folder);
        }

        RunAsUser("initdb", "-D", Data, "-A", "trust", "-U", User, "-N");
        Start();
    }

    public string ConnectionString => $"Host={_folder};Username={User};Database=postgres;Timeout=5;Command Timeout=10";

    private string Data => Path.Combine(_folder, "data");

    /// <summary>Starts a server; where the package is missing, the test is inconclusive, or fails if CI=true.</summary>
    public static PostgreSqlServer StartNew()
    {
        string? programs = Directory.Exists(Packages)
            ? Directory.GetDirectories(Packages).Select(version => Path.Combine(version, "bin"))
                .FirstOrDefault(folder => File.Exists(Path.Combine(folder, "initdb")))
            : null;
        if (programs is null)
        {
            const string Message = "PostgreSQL is missing: apt-get install postgresql";
            if (Environment.GetEnvironmentVariable("CI") == "true")
            {
                Assert.Fail(Message);
            }

            Assert.Inconclusive(Message);
        }

        return new PostgreSqlServer(programs!);
    }

    public void Start() => RunAsUser(
        "pg_ctl", "-D", Data, "-w", "-l", Path.Combine(_folder, "log"), "-o", $"-k {_folder} -h ''", "start");

    /// <summary>Stops the server at once, as kill -9 of all its processes would.</summary>
    public void Crash() => RunAsUser("pg_ctl", "-D", Data, "-m", "immediate", "-w", "stop");

    /// <summary>Puts the records into a folder of their own, which may be on another disk.</summary>
    public void MoveRecordsTo(string folder)
    {
        if (Environment.IsPrivilegedProcess)
        {
            Run("chown", User, folder);
        }

        foreach (string command in (string[])[
            $"CREATE TABLESPACE small LOCATION '{folder}'",
            "ALTER TABLE opteemediator.record SET TABLESPACE small"])
        {
            RunAsUser("psql", "-h", _folder, "-q", "-d", "postgres", "-c", command);
        }
    }

    public void Dispose()
    {
        try
        {
            Crash();
        }
        finally
        {
            Directory.Delete(_folder, recursive: true);
        }
    }

    private static void Run(string program, params string[] arguments)
    {
        ProcessStartInfo start = new(program, arguments)
        {
            RedirectStandardOutput = true,
            WorkingDirectory = "/",
        };
        using Process process = Process.Start(start)!;
        process.StandardOutput.Close();
        process.WaitForExit();
        Assert.That(process.ExitCode, Is.Zero, $"{program} {string.Join(' ', arguments)}");
    }

    private void RunAsUser(string program, params string[] arguments)
    {
        string path = Path.Combine(_programs, program);
        if (Environment.IsPrivilegedProcess)
        {
            Run("runuser", ["-u", User, "--", path, .. arguments]);
        }
        else
        {
            Run(path, arguments);
        }
    }
}
