using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The guide's snippet about limits; a test runs it.</summary>
internal static class Policy
{
    internal static OpTeeGuestOptions Create(Guid identity, Guid application, ILoggerFactory loggers)
    {
        // <snippet>
        var options = new OpTeeGuestOptions
        {
            Name = "vm1",                               // in each log entry
            Identity = identity,                        // storage and keys belong to it; the same at each start
            Access = TeeAccess.Only(application),       // all others do not exist for this guest
            Limits = new OpTeeLimits
            {
                Calls = 4,                              // threads of the TEE that the guest sees
                Sessions = 64,
                Buffers = 1024,
                PagesPerBuffer = 512,                   // 2 MiB
                Pages = 8192,                           // 32 MiB of shared pages in all
            },
            LoggerFactory = loggers,
        };
        // </snippet>
        return options;
    }
}
