using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee.GuestStorage;

/// <summary>The records of one VM in its guest's files.</summary>
internal sealed class GuestFileSession(ITeeStoreSession roots, RecordFiles files) : ITeeStoreSession
{
    public ITeeStoreTransaction Begin(bool writes) => new GuestFileTransaction(roots, files);

    public void Dispose() => roots.Dispose();
}
