namespace KvmVmm.CommandLine;

/// <summary>Reads the value of an option.</summary>
/// <param name="text">What the command line says.</param>
/// <param name="value">The value, if it is one.</param>
/// <returns>Whether it is one.</returns>
internal delegate bool ValueParser<T>(string text, out T value);
