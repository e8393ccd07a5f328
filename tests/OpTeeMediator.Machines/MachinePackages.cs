using System.Text.RegularExpressions;

namespace OpTeeMediator.Machines;

/// <summary>The versions of the Debian packages that the machines are made of.</summary>
public sealed partial class MachinePackages
{
    private readonly IReadOnlyDictionary<string, string> _versions;

    private MachinePackages(IReadOnlyDictionary<string, string> versions) => _versions = versions;

    /// <summary>OP-TEE's version, such as <c>4.10.0</c>.</summary>
    public string OpTee => Upstream("optee-os");

    /// <summary>OP-TEE's revision as a driver prints it, such as <c>4.10</c>.</summary>
    public string OpTeeRevision => MajorAndMinor().Match(OpTee).Value;

    /// <summary>The version of tee-supplicant and libteec, such as <c>4.11.0</c>.</summary>
    public string Supplicant => Upstream("tee-supplicant");

    /// <summary>xtest's version, such as <c>4.10.0</c>.</summary>
    public string Xtest => Upstream("optee-test-qemu");

    /// <summary>Reads them.</summary>
    /// <returns>The versions of the suite that the environment names.</returns>
    public static async Task<MachinePackages> ReadAsync()
    {
        string[] folders = await MachineScripts.BuildAsync("packages");
        string[] lines = await File.ReadAllLinesAsync(Path.Combine(folders[0], "versions"));
        return new MachinePackages(lines.Select(line => line.Split(' '))
            .ToDictionary(words => words[0], words => words[1]));
    }

    /// <summary>The upstream part of a package's version.</summary>
    /// <param name="package">The package's name.</param>
    /// <returns>Without Debian's epoch and revision.</returns>
    private string Upstream(string package)
    {
        string version = _versions[package];
        return version[(version.IndexOf(':', StringComparison.Ordinal) + 1)..version.LastIndexOf('-')];
    }

    [GeneratedRegex(@"^\d+\.\d+")]
    private static partial Regex MajorAndMinor();
}
