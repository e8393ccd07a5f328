using System.Text;
using KvmVmm.CommandLine;
using KvmVmm.Machine;
using OpTeeMediator.Kvm.State;

namespace KvmVmm.Saving;

/// <summary>What a machine is like, as its saved state says it: one that is restored must be like that.</summary>
internal static class MachineDescription
{
    private const string Section = "VMM.";

    // Longer than any.
    private const int MaximumSize = 1024;

    /// <summary>Writes it.</summary>
    /// <param name="state">Where it is written.</param>
    /// <param name="options">What the machine is like.</param>
    /// <param name="disk">Its disk.</param>
    public static void Save(VmStateWriter state, VmmOptions options, DiskFile? disk)
    {
        using Stream section = state.BeginSection(Section);
        section.Write(Encoding.UTF8.GetBytes(Describe(options, disk)));
    }

    /// <summary>Compares it.</summary>
    /// <param name="state">Where it is read.</param>
    /// <param name="options">What the machine is like.</param>
    /// <param name="disk">Its disk.</param>
    /// <exception cref="InvalidDataException">The machines differ.</exception>
    public static void Check(VmStateReader state, VmmOptions options, DiskFile? disk)
    {
        byte[] buffer = new byte[MaximumSize];
        int length = state.OpenSection(Section).ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
        string saved = PrintableText.Read(buffer.AsSpan(0, length));
        string present = Describe(options, disk);
        if (saved != present)
        {
            throw new InvalidDataException($"The saved machine has {saved}; by the options this one has {present}.");
        }
    }

    private static string Describe(VmmOptions options, DiskFile? disk) => string.Create(
        System.Globalization.CultureInfo.InvariantCulture,
        $"--memory {options.MemoryMebibytes} --cpus {options.Cpus} "
        + $"--tee {options.Tee.Kind.ToString().ToLowerInvariant()} "
        + $"--notify {(options.HasNotifications ? "on" : "off")}, a disk of {disk?.Length ?? 0} bytes");
}
