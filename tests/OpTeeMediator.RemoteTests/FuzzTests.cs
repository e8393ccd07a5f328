using OpTeeMediator.Backends;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Testing;

namespace OpTeeMediator.RemoteTests;

/// <summary>Random and mutated frames end at most their own connection: some 20,000, or a million with
/// OPTEE_MEDIATOR_FULL.</summary>
internal sealed class FuzzTests
{
    private const int Seed = 20260727;

    private ScriptedBackend _backend = null!;
    private RemoteBench _bench = null!;

    [SetUp]
    public void SetUp()
    {
        _backend = new ScriptedBackend { Execution = TeeExecution.Worker };
        _bench = new RemoteBench(_backend);
    }

    [TearDown]
    public async Task TearDown()
    {
        await _bench.DisposeAsync();
        await _backend.DisposeAsync();
    }

    [Test]
    public void Send_RandomAndMutatedFrames_OtherVmsAreServedAndNothingIsLeft()
    {
        bool isFull = Environment.GetEnvironmentVariable("OPTEE_MEDIATOR_FULL") is { Length: > 0 };
        int frames = isFull ? 1_000_000 : 20_000;
        uint session = _bench.Open();
        Random random = new(Seed);
        int connections = 0;
        int results = 0;
        int handled = 0;
        _backend.OnInvoke = request =>
        {
            // Reads and writes what it gets, as an application does.
            Span<byte> bytes = stackalloc byte[64];
            for (int index = 0; index < TeeRequest.ParameterCount; index++)
            {
                TeeParameter parameter = request.Parameters[index];
                _ = parameter.TryRead(0, bytes[..(int)Math.Min(parameter.Capacity, 64)]);
                _ = parameter.TryWrite(0, bytes[..(int)Math.Min(parameter.Capacity, 64)]);
            }

            _ = Interlocked.Increment(ref handled);
            return request.CommandId == 3
                ? new(TeeResult.FromTee(request.Guest!.Suspend(TimeSpan.Zero)))
                : new(TeeResult.Success);
        };
        MappedMemoryRegion region = _bench.Memory.Regions[0];
        for (int sent = 0; sent < frames; connections++)
        {
            // A server that waits for the rest of a frame whose length was changed: the connection ends.
            using RawClient client = new(_bench.SocketPath, TimeSpan.FromMilliseconds(500));
            if (!client.TryGreet())
            {
                continue;
            }

            FrameSource source = new(random, client, region.File!, region.Range.Length);
            while (source.Count < frames - sent && source.Send())
            {
            }

            sent += source.Count;
            results += source.Results;
            if (connections % 100 == 0)
            {
                Assert.That(
                    _bench.Driver.Invoke(session, 0).ReturnCode, Is.Zero, () => $"the other VM, after {sent} frames");
            }
        }

        Waiting.Until(() => _bench.Server.VirtualMachines == 1, "The end of all connections");
        TestContext.Out.WriteLine(
            $"{frames} frames on {connections} connections; {results} operations ended, {handled} of them commands");
        Assert.Multiple(() =>
        {
            Assert.That(_bench.Driver.Invoke(session, 0).ReturnCode, Is.Zero, "the other VM");
            Assert.That(_backend.OpenSessions, Is.EqualTo(1));
            Assert.That(_backend.RegisteredBuffers, Is.Zero);
            Assert.That(_bench.ServerLog.Count("Exception"), Is.Zero, () => string.Join(
                '\n', _bench.ServerLog.Messages.Where(line => line.Contains("Exception:", StringComparison.Ordinal))));
            Assert.That(
                _bench.ServerLog.Count("has sent"), Is.LessThanOrEqualTo(connections), "one line for each connection");

            // The frames reach deep into the server, or the test proves little.
            Assert.That(results, Is.GreaterThan(frames / 4));
            Assert.That(handled, Is.GreaterThan(frames / 10));
            Assert.That(connections, Is.GreaterThan(frames / 500));
        });
    }
}
