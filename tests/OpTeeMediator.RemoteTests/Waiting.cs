namespace OpTeeMediator.RemoteTests;

/// <summary>Waits for what another thread or process does.</summary>
internal static class Waiting
{
    /// <summary>Waits until a condition holds; the time bounds only a failure.</summary>
    public static void Until(Func<bool> condition, string what)
    {
        if (!SpinWait.SpinUntil(condition, TimeSpan.FromSeconds(60)))
        {
            Assert.Fail($"{what} has not happened.");
        }
    }
}
