using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace OpTeeMediator.StorageTests;

/// <summary>A PostgreSQL server of Debian's package in a temporary folder, on a Unix socket and, if asked for, on
/// 127.0.0.1.</summary>
internal sealed class PostgreSqlServer : IDisposable
{
    private const string Packages = "/usr/lib/postgresql";

    // PostgreSQL refuses to run as root; the package makes this user.
    private const string User = "postgres";

    private readonly string _folder = Directory.CreateTempSubdirectory("pg.").FullName;
    private readonly string _programs;
    private readonly int _port;

    private PostgreSqlServer(string programs, bool isOnNetwork)
    {
        _programs = programs;
        _port = isOnNetwork ? FreePort() : 0;
        if (Environment.IsPrivilegedProcess)
        {
            Run("chown", User, _folder);
        }

        RunAsUser("initdb", "-D", Data, "-A", "trust", "-U", User, "-N");
        Start();
    }

    public string ConnectionString => $"Host={_folder};Username={User};Database=postgres;Timeout=5;Command Timeout=10";

    private string Data => Path.Combine(_folder, "data");

    /// <summary>How one that reaches 127.0.0.1 of this computer by another address connects.</summary>
    public string NetworkConnectionString(string address) =>
        $"Host={address};Port={_port};Username={User};Database=postgres;Timeout=30;Command Timeout=30";

    /// <summary>Starts a server; where the package is missing, the test is inconclusive, or fails if CI=true.</summary>
    public static PostgreSqlServer StartNew(bool isOnNetwork = false)
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

        return new PostgreSqlServer(programs!, isOnNetwork);
    }

    public void Start()
    {
        string network = _port == 0 ? "-h ''" : $"-h 127.0.0.1 -p {_port}";
        RunAsUser(
            "pg_ctl", "-D", Data, "-w", "-l", Path.Combine(_folder, "log"), "-o", $"-k {_folder} {network}", "start");
    }

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

    private static int FreePort()
    {
        using TcpListener probe = new(IPAddress.Loopback, 0);
        probe.Start();
        return ((IPEndPoint)probe.LocalEndpoint).Port;
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
