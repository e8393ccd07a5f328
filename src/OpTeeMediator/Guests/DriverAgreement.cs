using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.State;

namespace OpTeeMediator.Guests;

/// <summary>What a guest's driver was told of its OP-TEE: after a restore it must still be so.</summary>
/// <param name="Capabilities">What the guest is offered.</param>
/// <param name="Interrupt">The SPI of notifications; 0 for none.</param>
/// <param name="ReservedMemory">The memory that the device tree reserves, if any.</param>
internal readonly record struct DriverAgreement(
    OpTeeCapabilities Capabilities, uint Interrupt, GuestRange? ReservedMemory)
{
    /// <summary>Saves it.</summary>
    public void Save(StateWriter writer)
    {
        writer.WriteUInt64((ulong)Capabilities);
        writer.WriteUInt32(Interrupt);
        writer.WriteUInt64(ReservedMemory?.Start.Value ?? 0);
        writer.WriteUInt64(ReservedMemory?.Length ?? 0);
    }

    /// <summary>Compares it with what was saved.</summary>
    /// <exception cref="OpTeeStateException">The guest was told something else.</exception>
    public void Check(StateReader reader)
    {
        OpTeeCapabilities missing = (OpTeeCapabilities)reader.ReadUInt64() & ~Capabilities;
        if (missing != 0)
        {
            throw new OpTeeStateException(
                $"The guest was offered {missing} when the VM was saved, and these options do not.");
        }

        uint interrupt = reader.ReadUInt32();
        if (interrupt != Interrupt)
        {
            throw new OpTeeStateException(
                $"The guest knows SPI {interrupt} for notifications, and {nameof(OpTeeGuestOptions)}."
                + $"{nameof(OpTeeGuestOptions.NotificationInterrupt)} is SPI {Interrupt} (0 is none).");
        }

        ulong start = reader.ReadUInt64();
        ulong length = reader.ReadUInt64();
        if (start != (ReservedMemory?.Start.Value ?? 0) || length != (ReservedMemory?.Length ?? 0))
        {
            throw new OpTeeStateException(
                $"The guest knows {length} bytes at 0x{start:x} as reserved memory, and {nameof(OpTeeGuestOptions)}."
                + $"{nameof(OpTeeGuestOptions.ReservedSharedMemory)} is {ReservedMemory}.");
        }
    }
}
