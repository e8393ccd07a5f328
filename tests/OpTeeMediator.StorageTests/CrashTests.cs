using System.Collections.Concurrent;
using System.Globalization;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.PostgreSql;
using OpTeeMediator.SoftwareTee.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageTests;

/// <summary>
/// Writer or database is killed at random moments: an acknowledged write stays, and any other one is there as a whole,
/// or not at all.
/// </summary>
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
internal sealed class CrashTests
{
    private static readonly bool IsFull = Environment.GetEnvironmentVariable("OPTEE_MEDIATOR_FULL") is { Length: > 0 };

    private readonly string _folder = Directory.CreateTempSubdirectory("storage-tests.").FullName;

    [TearDown]
    public void TearDown() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void Sqlite_WriterKilled_AcknowledgedWritesStay()
    {
        string path = Path.Combine(_folder, "store.db");
        KillWriters("write-sqlite", path, () => new SqliteTeeStore(path));
    }

    [Test]
    public void PostgreSql_WriterKilled_AcknowledgedWritesStay()
    {
        using PostgreSqlServer server = PostgreSqlServer.StartNew();
        using PostgreSqlTeeStore store = new(server.ConnectionString);
        KillWriters("write-postgres", server.ConnectionString, () => store);
    }

    // The same TEE works on when the server is back.
    [Test]
    public void PostgreSql_ServerKilledWhileItWrites_AcknowledgedWritesStay()
    {
        using PostgreSqlServer server = PostgreSqlServer.StartNew();
        using PostgreSqlTeeStore store = new(server.ConnectionString);
        using StorageBench bench = new(store);
        Random random = new(2);
        ConcurrentDictionary<string, (int Begun, int Ended)> written = [];
        int version = 0;
        for (int kills = IsFull ? 1000 : 5; kills > 0; kills--)
        {
            using ManualResetEventSlim works = new();
            Task writer = Task.Run(() =>
            {
                while (true)
                {
                    version += 2;
                    string id = WrittenObject.IdOf(version);
                    (int _, int ended) = written.GetValueOrDefault(id, (-1, -1));
                    written[id] = (version, ended);
                    TeeReturnCode code = bench.Put(id, WrittenObject.ContentOf(version));
                    if (code != TeeReturnCode.Success)
                    {
                        Assert.That(code, Is.EqualTo(TeeReturnCode.StorageNotAvailable));
                        return;
                    }

                    written[id] = (version, version);
                    works.Set();
                }
            });
            bool wrote = works.Wait(TimeSpan.FromMinutes(2));
            Thread.Sleep(random.Next(50));
            server.Crash();
            Assert.That(writer.Wait(TimeSpan.FromMinutes(2)), Is.True);
            server.Start();
            Assert.That(wrote, Is.True, string.Join('\n', bench.Logger.Messages));

            // The connection in the pool has ended with the server, which the pool notices on its first use.
            _ = bench.Get("any", out _);
            Check(bench, written);
        }

        Assert.That(bench.Logger.Messages, Has.Some.Contains("cannot be reached").Or.Some.Contains("refuses"));
    }

    private static void KillWriters(string command, string place, Func<ITeeStore> open)
    {
        Random random = new(1);
        Dictionary<string, (int Begun, int Ended)> written = [];
        int version = 0;
        for (int kills = IsFull ? 1000 : 20; kills > 0; kills--)
        {
            using OtherProcess writer = new(command, place, version.ToString(CultureInfo.InvariantCulture));
            writer.WaitForLines(2);
            Thread.Sleep(random.Next(60));
            writer.Kill();
            foreach (string line in writer.Lines)
            {
                // The last line may have been cut off.
                string[] words = line.Split(' ');
                if (words is ["begin" or "end", _] && int.TryParse(words[1], out int number) && number >= version)
                {
                    string id = WrittenObject.IdOf(number);
                    (int _, int ended) = written.GetValueOrDefault(id, (-1, -1));
                    written[id] = words[0] == "begin" ? (number, ended) : (number, number);
                    version = Math.Max(version, number);
                }
            }

            // Of the next round's versions none has been begun.
            version = (version / 2 * 2) + (2 * WrittenObject.Count);
            using StorageBench bench = new(open());
            Check(bench, written);
        }
    }

    private static void Check(StorageBench bench, IDictionary<string, (int Begun, int Ended)> written)
    {
        foreach ((string id, (int begun, int ended)) in written.ToArray())
        {
            TeeReturnCode code = bench.Get(id, out byte[] content);
            if (code == TeeReturnCode.ItemNotFound && ended < 0)
            {
                continue;
            }

            int found = WrittenObject.VersionOf(content);
            Assert.That(code, Is.EqualTo(TeeReturnCode.Success), string.Join('\n', bench.Logger.Messages));
            Assert.That(found, Is.EqualTo(begun).Or.EqualTo(ended), id);

            // What was not acknowledged, but is there, is what a later write replaces.
            written[id] = (found, found);
        }
    }
}
