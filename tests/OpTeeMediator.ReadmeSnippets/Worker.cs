using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Remote;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The snippet about worker processes, compiled; a test compares it with the page.</summary>
internal static class Worker
{
    internal static int Run(string[] arguments, ITeeBackend backend, ILoggerFactory loggerFactory)
    {
        // <snippet>
        if (TeeWorker.IsWorker(arguments))
        {
            return TeeWorker.Run(arguments, backend, loggerFactory);
        }
        // </snippet>
        return 0;
    }
}
