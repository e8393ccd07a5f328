namespace KvmVmm.Machine;

/// <summary>How a machine has ended.</summary>
internal enum MachineEnd
{
    /// <summary>The guest has switched it off.</summary>
    PoweredOff,

    /// <summary>The guest has requested a reset.</summary>
    Reset,

    /// <summary>The guest has reported a crash.</summary>
    Crashed,

    /// <summary>The VMM was stopped.</summary>
    Stopped,

    /// <summary>It is to be saved or moved: it has not ended, but no vCPU of it runs.</summary>
    Halted,

    /// <summary>It was saved, and goes on elsewhere.</summary>
    Saved,

    /// <summary>It was moved, and goes on elsewhere.</summary>
    Moved,
}
