using System.Security.Cryptography;
using OpTeeMediator.Backends;
using OpTeeMediator.Software.Hosting;

namespace OpTeeMediator.Software.Applications;

/// <summary>OP-TEE's random number generator, which Linux's <c>optee-rng</c> (and U-Boot's, and EDK II's) has a driver for.</summary>
/// <remarks>Source: OP-TEE's <c>pta_rng.h</c>.</remarks>
internal sealed class RandomNumberGeneratorApplication : TrustedApplication
{
    /// <summary>PTA_CMD_GET_ENTROPY: parameter 0 is an in/out memory reference to fill.</summary>
    internal const uint GetEntropy = 0;

    /// <summary>PTA_CMD_GET_RNG_INFO: parameter 0 returns the data rate in bytes per second, and the bits of entropy per 1024 bits.</summary>
    internal const uint GetInformation = 1;

    /// <summary>
    /// What drivers ask for at most, and what the pool of OP-TEE's first implementation holds, in bytes. More is TEE_ERROR_NOT_SUPPORTED; it keeps
    /// an inline call short.
    /// </summary>
    internal const int LongestRequest = 4096;

    /// <summary>
    /// 16 MiB/s: so fast that a driver does not sleep between requests. 0 would say "not limited", but older Linux drivers divide by it.
    /// </summary>
    internal const uint DataRate = 16 << 20;

    /// <summary>Full entropy.</summary>
    internal const uint Quality = 1024;

    /// <summary>PTA_RNG_UUID, with the flags of OP-TEE's own.</summary>
    internal static readonly TrustedApplicationManifest Manifest = new(new Guid("ab7a617c-b8e7-4d8f-8301-d09b61036b64"))
    {
        SingleInstance = true,
        MultiSession = true,
        InstanceKeepAlive = true,
        Concurrent = true,
        DeviceDependency = TeeDeviceDependency.None,
        Execution = TeeExecution.Inline,
    };

    /// <summary>Makes the generator ready to be registered.</summary>
    /// <returns>Its registration.</returns>
    internal static ApplicationRegistration Prepare()
    {
        // The first use loads the host's cryptographic library: here, not on a vCPU's thread.
        RandomNumberGenerator.Fill(stackalloc byte[1]);
        return new ApplicationRegistration(Manifest, typeof(RandomNumberGeneratorApplication), _ => new RandomNumberGeneratorApplication());
    }

    protected internal override TeeReturnCode InvokeCommand(ApplicationCall call) => call.CommandId switch
    {
        GetEntropy => FillWithEntropy(call),
        GetInformation => Describe(call),
        _ => TeeReturnCode.NotImplemented,
    };

    private static TeeReturnCode FillWithEntropy(ApplicationCall call)
    {
        ApplicationParameter output = call[0];
        if (!call.HasParameters(TeeParameterKind.MemoryInOut) || output.IsNull || output.Size == 0)
        {
            return TeeReturnCode.BadParameters;
        }

        if (output.Size > LongestRequest)
        {
            return TeeReturnCode.NotSupported;
        }

        Span<byte> entropy = stackalloc byte[LongestRequest];
        entropy = entropy[..output.Size];
        RandomNumberGenerator.Fill(entropy);
        return output.Write(entropy);
    }

    private static TeeReturnCode Describe(ApplicationCall call)
    {
        if (!call.HasParameters(TeeParameterKind.ValueOutput))
        {
            return TeeReturnCode.BadParameters;
        }

        call[0].A = DataRate;
        call[0].B = Quality;
        return TeeReturnCode.Success;
    }
}
