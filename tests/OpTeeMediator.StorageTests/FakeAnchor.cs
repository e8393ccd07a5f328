using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageTests;

/// <summary>A rollback counter in memory, which can fail.</summary>
internal sealed class FakeAnchor : IRollbackAnchor
{
    public long Value { get; set; }

    public bool Fails { get; set; }

    public long Read(Guid virtualMachine) => Value;

    public void Advance(Guid virtualMachine, long value) =>
        Value = !Fails ? value : throw new IOException("The counter cannot be reached.");
}
