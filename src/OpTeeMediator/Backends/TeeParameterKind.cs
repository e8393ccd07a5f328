namespace OpTeeMediator.Backends;

/// <summary>The kind of an operation's parameter; the values are GlobalPlatform's TEE_PARAM_TYPE_*.</summary>
public enum TeeParameterKind
{
    /// <summary>TEE_PARAM_TYPE_NONE: not used.</summary>
    None = 0,

    /// <summary>TEE_PARAM_TYPE_VALUE_INPUT: two numbers for the application.</summary>
    ValueInput = 1,

    /// <summary>TEE_PARAM_TYPE_VALUE_OUTPUT: two numbers from the application.</summary>
    ValueOutput = 2,

    /// <summary>TEE_PARAM_TYPE_VALUE_INOUT: two numbers in both directions.</summary>
    ValueInOut = 3,

    /// <summary>TEE_PARAM_TYPE_MEMREF_INPUT: memory that the application reads.</summary>
    MemoryInput = 5,

    /// <summary>TEE_PARAM_TYPE_MEMREF_OUTPUT: memory that the application writes.</summary>
    MemoryOutput = 6,

    /// <summary>TEE_PARAM_TYPE_MEMREF_INOUT: memory that the application reads and writes.</summary>
    MemoryInOut = 7,
}
