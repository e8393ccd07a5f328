namespace OpTeeMediator.Tests.Documentation;

/// <summary>Words that kept readers out, and the field's terms for them.</summary>
internal static class ReplacedWords
{
    public static IReadOnlyList<ReplacedWord> All { get; } =
    [
        // Names.
        new(@"\bCallBooks\b", "SessionAndBufferOperations"),
        new(@"\bForwardedBooks\b", "SharedMemoryRegistry"),
        new(@"\bbooks\b", "tables"),
        new(@"[Ii]ncarnation", "DriverInstance, driver instance"),
        new(@"\b[Dd]river's life\b|\b(life|lives) of (a|the|its|each) driver", "driver instance"),
        new(@"\bVirtualizedOpTee\b", "HostOpTee"),
        new(@"\b(Try)?Announces?\b|\bVMs? announced\b", "NotifyVmCreated"),
        new(@"\b(Try)?TakeLeave\b|\b[Tt]ak(e|es|en|ing) leave\b", "TryNotifyVmDestroyed"),
        new(@"\b\w*Gate\b|\bgates?\b", "SequenceLock, EntryLock, SmcFilter, lock", "src", "samples", "docs", "README"),
        new(@"\bCompanionKeeper\b|\b[Kk]eeper\b", "CompanionMaintenance", "src", "samples", "docs", "README"),
        new(@"\bNotice[A-Z]\w*", "On…"),
        new(@"\bDie(s|d)?\b", "Fail", "src", "samples", "docs", "README"),
        new(@"\bGive(s|n)?Up\b|\bGave?Up\b", "Abort"),
        new(@"\bTeeDeath\w*", "TeeFailure"),
        new(@"\bMessagePlace\b", "MessageLocator"),
        new(@"\bRpcSteps\b", "RpcStateMachine"),
        new(@"\bRpcChannel\b", "RpcMessageCodec"),
        new(@"\b\w*[Pp]ark(ed|s|ing|After)?\b", "sleeping, waiting for a notification"),
        new(@"\bSideBySideMapping\b", "ContiguousMapping"),
        new(@"\bGuarded[A-Z]\w*|\bQuiet[A-Z]\w*", "NonThrowing…"),
        new(@"\bForget(s|[A-Z]\w*)?\b", "Discard"),
        new(@"\bSettle(s|d|[A-Z]\w*)?\b", "Commit"),
        new(@"\bDropsEarlierDriver\b", "ResetOnCapabilityExchange"),
        new(@"\bForwardedCall\.Thread\b", "OpTeeThreadId"),
        new(@"\bOpTeeMediator\.Software\b", "OpTeeMediator.SoftwareTee"),
        new(@"\b[Ss]ubjects?\b", "measured", "benchmarks"),
        new(@"[Ff]loors?\b", "reference", "benchmarks"),

        // Sentences.
        new(@"\b(Keeps|keeps|keeping) the books\b", "tracks sessions and buffers"),
        new(@"\btakes that one with it\b", "can crash it"),
        new(@"\bneither doubles nor strangers\b", "neither duplicates nor unknown ids"),
        new(@"\b[Ff]rom its source follow\b", "these rules follow from OP-TEE's source"),
        new(@"\bask(s|ed)? for ever\b", "retry indefinitely"),
        new(@"\bnothing or less\b", "skipped, or partly skipped"),
        new(@"\bgo(es)? deaf\b", "input is dropped"),
        new(@"\bVMM does not say\b", "used when the options name none"),
        new(@"\b[Ww]ho may do what\b", "trust model"),
        new(@"\b[Ww]hoever\b", "a noun"),
        new(@"\banew\b", "again"),
        new(@"\b[Ll]et(s|ting)? go of\b", "release"),
        new(@"\bVMs? (goes|go)\b(?! on\b)|\b[Cc]omes? and goe?s?\b", "the VM is destroyed"),
        new(@"\bbehind (each|which|this call|one)\b|\b(fence|change) behind\b", "after"),
    ];
}
