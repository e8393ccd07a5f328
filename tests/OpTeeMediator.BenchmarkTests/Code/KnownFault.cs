namespace OpTeeMediator.BenchmarkTests.Code;

/// <summary>What must not be in the path of a call, and must be found if it is.</summary>
internal enum KnownFault
{
    /// <summary>An object.</summary>
    Object,

    /// <summary>An array.</summary>
    Array,

    /// <summary>A value that becomes an object.</summary>
    Boxing,

    /// <summary>An exception that the path itself catches.</summary>
    Exception,

    /// <summary>A lock of the runtime.</summary>
    Monitor,
}
