using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.SoftwareTee.Hosting;
using OpTeeMediator.SoftwareTee.KernelKeys;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee;

/// <summary>A TEE in the VMM's own process: trusted applications are C# classes.</summary>
/// <remarks>
/// <para>For machines without TrustZone, and for tests. The applications are code that the VMM trusts: one that
/// exhausts memory or never returns harms the VMM. VMs share nothing: each has instances and sessions of its
/// own.</para>
/// <para>Immutable, hence thread-safe.</para>
/// </remarks>
public sealed class SoftwareTeeBackend : ITeeBackend
{
    private readonly SoftwareTeeOptions _options;

    /// <summary>Makes a TEE.</summary>
    /// <param name="options">What it consists of.</param>
    /// <exception cref="ArgumentNullException"><paramref name="options"/> is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">An application has the built-in generator's UUID.</exception>
    public SoftwareTeeBackend(SoftwareTeeOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        _options = options;
    }

    /// <summary>The random number generator's UUID, for <see cref="TeeAccess.Only"/> (OP-TEE's PTA_RNG_UUID).</summary>
    public static Guid RandomNumberGeneratorUuid => RandomNumberGenerator.Uuid;

    /// <summary>The UUID of trusted keys, for <see cref="TeeAccess.Only"/> (TA_TRUSTED_KEYS_UUID).</summary>
    public static Guid TrustedKeysUuid => TrustedKeys.Uuid;

    /// <inheritdoc/>
    /// <remarks>Everything: nobody but this VMM's guests uses this TEE.</remarks>
    public TeeAccess DefaultAccess => TeeAccess.All;

    /// <inheritdoc/>
    /// <exception cref="ArgumentNullException"><paramref name="virtualMachine"/> is <see langword="null"/>.</exception>
    public ITeePartition CreatePartition(TeeVirtualMachine virtualMachine)
    {
        ArgumentNullException.ThrowIfNull(virtualMachine);
        ITeeSession? randomNumbers = _options.ProvideRandomNumberGenerator ? RandomNumberGenerator.Session : null;
        ILogger logger = NonThrowingLogger.CreateForVm<SoftwareTeeBackend>(virtualMachine.LoggerFactory);
        return new SoftwarePartition(
            virtualMachine,
            logger,
            _options.Registrations.Values,
            randomNumbers,
            _options.MemoryQuota,
            CreateSecrets(virtualMachine, logger));
    }

    private VirtualMachineSecrets CreateSecrets(TeeVirtualMachine virtualMachine, ILogger logger)
    {
        Guid id = virtualMachine.Identity;
        if (_options.KeySource is not { } keySource || id == Guid.Empty)
        {
            if (_options.KeySource is not null)
            {
                logger.IdentityMissing(virtualMachine.Name);
            }

            return VirtualMachineSecrets.None;
        }

        return new VirtualMachineSecrets(
            new DerivedKeys(keySource, id, virtualMachine.Name, logger),
            _options.Storage is { } storage
                ? new VirtualMachineStorage(storage, keySource, id, virtualMachine.Name, logger)
                : null);
    }
}
