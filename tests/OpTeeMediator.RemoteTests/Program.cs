namespace OpTeeMediator.RemoteTests;

/// <summary>The processes that tests start.</summary>
internal static class Program
{
    private static int Main(string[] arguments)
    {
        throw new InvalidOperationException($"There is no process '{string.Join(' ', arguments)}'.");
    }
}
