using System.Text;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Companion;

/// <summary>What a companion's state begins with: the VM for which it is, and what of it is not OP-TEE's own.</summary>
/// <remarks>
/// <code>
/// section "VMOF": the platform (addresses and lengths, 8 bytes each, and its cores, 4), the number of cores (4),
///                 whether the console is logged (1), whether there is an interrupt (1), the number of the guest's
///                 regions (4), start and length of each (8 each)
/// section "LINE": whether an interrupt is due (1), what follows (1): CompanionContent
/// </code>
/// </remarks>
/// <param name="options">Say what the machine is like.</param>
/// <param name="guestMemory">The guest's RAM.</param>
internal sealed class CompanionState(OpTeeCompanionOptions options, IReadOnlyCollection<GuestRange> guestMemory)
{
    private const string VmSection = "VMOF";
    private const string LineSection = "LINE";

    /// <summary>Writes the beginning.</summary>
    internal void Begin(VmStateWriter state, bool isInterruptDue, CompanionContent content)
    {
        using (Stream section = state.BeginSection(VmSection))
        {
            section.Write(Describe());
        }

        using (Stream section = state.BeginSection(LineSection))
        {
            section.Write([isInterruptDue ? (byte)1 : (byte)0, (byte)content]);
        }
    }

    /// <summary>Reads the beginning.</summary>
    /// <exception cref="InvalidDataException">It is another VM's.</exception>
    internal CompanionContent ReadBeginning(VmStateReader state, out bool isInterruptDue)
    {
        byte[] expected = Describe();
        byte[] found = new byte[expected.Length];
        Stream section = state.OpenSection(VmSection);
        if (section.ReadAtLeast(found, found.Length, throwOnEndOfStream: false) != found.Length
            || section.ReadByte() >= 0 || !found.AsSpan().SequenceEqual(expected))
        {
            throw new InvalidDataException(
                "The saved OP-TEE is that of a VM with other memory, another platform, another number of cores, or"
                    + $" other {nameof(OpTeeCompanionOptions)} ({nameof(OpTeeCompanionOptions.LogsConsole)},"
                    + $" {nameof(OpTeeCompanionOptions.NotificationInterrupt)}).");
        }

        section = state.OpenSection(LineSection);
        (int due, int has) = (section.ReadByte(), section.ReadByte());
        if (due is not (0 or 1) || has is not (>= 0 and <= (int)CompanionContent.Rest))
        {
            throw new InvalidDataException("The saved state of OP-TEE's interrupt makes no sense.");
        }

        isInterruptDue = due == 1;
        return (CompanionContent)has;
    }

    private byte[] Describe()
    {
        using MemoryStream bytes = new();
        using BinaryWriter writer = new(bytes, Encoding.UTF8);
        OpTeePlatform platform = options.Platform;
        writer.Write(platform.SecureMemory.Start.Value);
        writer.Write(platform.SecureMemory.Length);
        writer.Write(platform.GicDistributor.Value);
        writer.Write(platform.GicRedistributors.Value);
        writer.Write(platform.Uart.Value);
        writer.Write(platform.DeviceTree.Value);
        writer.Write(platform.Cores);
        writer.Write(options.CoreCount);
        writer.Write(options.LogsConsole);
        writer.Write(options.NotificationInterrupt is not null);
        writer.Write(guestMemory.Count);
        foreach (GuestRange range in guestMemory)
        {
            writer.Write(range.Start.Value);
            writer.Write(range.Length);
        }

        writer.Flush();
        return bytes.ToArray();
    }
}
