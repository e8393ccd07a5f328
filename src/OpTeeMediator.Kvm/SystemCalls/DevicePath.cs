namespace OpTeeMediator.Kvm.SystemCalls;

/// <summary>Paths of devices that a VMM names.</summary>
internal static class DevicePath
{
    /// <summary>Checks a path; the C library would end it at its first NUL and open another device.</summary>
    /// <exception cref="ArgumentNullException">The path is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">The path is empty, or has a character NUL.</exception>
    internal static void Check(string path, string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(path, name);
        if (path.Contains('\0'))
        {
            throw new ArgumentException("The path of a device has a character NUL; expected none.", name);
        }
    }
}
