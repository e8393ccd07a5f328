namespace KvmVmm.Machine;

/// <summary>How a machine has ended.</summary>
internal enum MachineEnd
{
    /// <summary>The guest has switched it off.</summary>
    PoweredOff,

    /// <summary>The guest has asked for a reset.</summary>
    Reset,

    /// <summary>The guest says that it has crashed.</summary>
    Crashed,

    /// <summary>The VMM was told to end.</summary>
    Stopped,
}
