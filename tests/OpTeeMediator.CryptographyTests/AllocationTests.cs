using OpTeeMediator.SoftwareTee.BouncyCastle;

namespace OpTeeMediator.CryptographyTests;

/// <summary>Updates allocate nothing once an operation has begun.</summary>
[NonParallelizable]
internal sealed class AllocationTests
{
    private static readonly byte[] Key = Pieces.Counting(1, 16);
    private static readonly byte[] OtherKey = Pieces.Counting(2, 16);

    [Test]
    public void Update_SteadyState_AllocatesNothing([Values("ctr", "cts", "xts", "gcm", "ccm", "cmac")] string name)
    {
        byte[] source = new byte[4096];
        byte[] destination = new byte[5000];
        using IDisposable operation = Create(name);
        Action update = operation switch
        {
            CipherOperation cipher => () => cipher.Update(source, destination),
            AeadOperation aead => () => aead.Update(source, destination),
            _ => () => ((AesCmac)operation).Update(source),
        };
        for (int warmUp = 0; warmUp < 50; warmUp++)
        {
            update();
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int count = 0; count < 50; count++)
        {
            update();
        }

        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }

    private static IDisposable Create(string name)
    {
        CipherOperation? cipher = name switch
        {
            "ctr" => new AesCtr(Key),
            "cts" => new AesCts(Key, encrypts: true),
            "xts" => new AesXts(Key, OtherKey, encrypts: true),
            _ => null,
        };
        if (cipher is not null)
        {
            cipher.Initialize(new byte[16]);
            return cipher;
        }

        switch (name)
        {
            case "gcm":
                AesGcmOperation gcm = new(Key, encrypts: true);
                gcm.Initialize(new byte[12], 16);
                return gcm;
            case "ccm":
                AesCcmOperation ccm = new(Key, encrypts: true);
                ccm.Initialize(new byte[12], 16, 0, 1 << 20);
                return ccm;
            default:
                return new AesCmac(Key);
        }
    }
}
