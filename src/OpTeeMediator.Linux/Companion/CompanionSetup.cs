using System.Collections.Immutable;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Kvm;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Companion;

/// <summary>What a companion is made of, checked: its options, the guest's RAM, where to log, and how a VM for an
/// OP-TEE is made.</summary>
/// <param name="options">Its options.</param>
/// <param name="guestMemory">The guest's RAM.</param>
/// <param name="createVm">Makes the VM of an OP-TEE, with memory that was copied (the VM owns it, whatever happens) or
/// with empty memory.</param>
internal sealed class CompanionSetup(
    OpTeeCompanionOptions options, ImmutableArray<GuestRange> guestMemory,
    Func<MemfdGuestMemory?, ILogger, ICompanionVm> createVm) : IDisposable
{
    // OP-TEE's console is one kind of entry: there must be room for what it prints at its start, or of a panic.
    private const int EntriesOfAKind = 200;

    private KvmSystem? _ownedKvm;

    internal OpTeeCompanionOptions Options => options;

    internal ImmutableArray<GuestRange> GuestMemory => guestMemory;

    internal ILogger Log { get; } = NonThrowingLogger.CreateForVm(
        options.LoggerFactory, $"{typeof(CompanionSetup).Namespace}.{nameof(OpTeeCompanion)}", EntriesOfAKind);

    /// <summary>Checks what a companion of KVM is made of.</summary>
    /// <param name="given">The host's KVM; <see langword="null"/> to open it.</param>
    /// <param name="memory">The guest's RAM.</param>
    /// <param name="tracked">Is told what OP-TEE writes to it.</param>
    /// <param name="options">The companion's options.</param>
    /// <exception cref="ArgumentException">An option is outside its range, or guest and OP-TEE need the same
    /// addresses.</exception>
    internal static CompanionSetup ForKvm(
        KvmSystem? given, MappedGuestMemory memory, TrackedGuestMemory? tracked, OpTeeCompanionOptions options)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        ImmutableArray<GuestRange> regions = [.. memory.Regions.Select(region => region.Range)];
        CompanionVm.CheckLayout(regions.AsSpan(), options);
        KvmSystem kvm = given ?? KvmSystem.Open();
        return new CompanionSetup(
            options, regions, (copied, log) => CompanionVm.Create(kvm, memory, tracked, options, copied, log))
        {
            _ownedKvm = given is null ? kvm : null,
        };
    }

    /// <summary>Makes the VM of an OP-TEE.</summary>
    internal ICompanionVm CreateVm(MemfdGuestMemory? copied) => createVm(copied, Log);

    /// <summary>Closes KVM, if it was not given.</summary>
    public void Dispose() => _ownedKvm?.Dispose();
}
