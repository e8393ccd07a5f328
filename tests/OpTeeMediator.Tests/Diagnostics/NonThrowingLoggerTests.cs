using Microsoft.Extensions.Logging;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Supplied;
using OpTeeMediator.Tests.Linux;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Diagnostics;

[Parallelizable(ParallelScope.All)]
internal sealed class NonThrowingLoggerTests
{
    [Test]
    public void EachMethod_VmmsLoggerThrows_DoesNotThrow(
        [Values("CreateLogger", "IsEnabled", "Log", "BeginScope", "Scope.Dispose", "AddProvider")] string method)
    {
        FailurePlan plan = new(method, 1, Failure.Throws);
        using NonThrowingLoggerFactory factory = new(new FailingLoggerFactory(plan));

        Assert.That(() => Use(factory), Throws.Nothing);
        Assert.That(plan.HasFailed);
    }

    [Test]
    public void Log_VmmsLoggerWorks_ReachesIt()
    {
        FailurePlan plan = new();
        using NonThrowingLoggerFactory factory = new(new FailingLoggerFactory(plan));

        Use(factory);

        string[] methods = ["CreateLogger", "IsEnabled", "Log", "BeginScope", "Scope.Dispose", "AddProvider"];
        Assert.That(plan.Calls.Keys, Is.EquivalentTo(methods));
    }

    [TestCase(LogLevel.Debug)]
    [TestCase(LogLevel.Error)]
    public void Log_MoreOfAKindThanAllowed_AreCountedInTheNextEntry(LogLevel level)
    {
        ManualTime time = new();
        using ListLoggerFactory entries = new();
        ILogger logger = NonThrowingLogger.Create(entries, "category", new LogRateLimits(time, 3));

        for (int count = 0; count < 10; count++)
        {
            logger.Log(level, new EventId(1), "first", null, (state, _) => state);
        }

        logger.Log(level, new EventId(2), "second", null, (state, _) => state);
        time.Advance(LogRateLimit.Interval);
        logger.Log(level, new EventId(1), "third", null, (state, _) => state);

        Assert.That(entries.Messages, Is.EqualTo([
            "first", "first", "first", "second",
            "third (entries like this of this VM, suppressed before it: 7)",
        ]));
    }

    [Test]
    public void Create_FactoryReturnsNull_LogsNowhere()
    {
        using NullFactory factory = new();

        ILogger logger = NonThrowingLogger.Create<NonThrowingLoggerTests>(factory);

        Assert.That(logger.IsEnabled(LogLevel.Critical), Is.False);
    }

    private static void Use(NonThrowingLoggerFactory factory)
    {
        factory.AddProvider(null!);
        ILogger logger = factory.CreateLogger("category");
        using (logger.BeginScope("scope"))
        {
            _ = logger.IsEnabled(LogLevel.Error);
            logger.CallFailed(1, new InvalidOperationException());
        }
    }

    private sealed class NullFactory : ILoggerFactory
    {
        public ILogger CreateLogger(string categoryName) => null!;

        public void AddProvider(ILoggerProvider provider)
        {
        }

        public void Dispose()
        {
        }
    }
}
