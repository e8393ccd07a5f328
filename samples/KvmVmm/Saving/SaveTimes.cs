namespace KvmVmm.Saving;

/// <summary>How long a VM's saving takes, for the log.</summary>
internal sealed class SaveTimes
{
    /// <summary>The time from the request until no operation was left at the TEE; the guest runs meanwhile.</summary>
    public TimeSpan Drain { get; set; }

    /// <summary>When the vCPUs were told to stop (<see cref="System.Diagnostics.Stopwatch.GetTimestamp"/>).</summary>
    public long PauseBegin { get; set; }

    /// <summary>How much of the pause is for the TEE: halting it, and saving its state.</summary>
    public TimeSpan Tee { get; set; }
}
