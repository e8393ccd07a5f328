namespace OpTeeMediator.Tests.Linux;

/// <summary>Who has made the guest memory of a test, and what it consists of.</summary>
public enum MemoryOwner
{
    /// <summary><c>MemfdGuestMemory</c>.</summary>
    Library,

    /// <summary><c>MappedGuestMemory</c> over files that the VMM has mapped.</summary>
    VmmWithFiles,

    /// <summary><c>MappedGuestMemory</c> over private anonymous memory.</summary>
    VmmWithoutFiles,
}
