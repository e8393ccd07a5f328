using System.Security.Cryptography;
using OpTeeMediator.SoftwareTee.BouncyCastle;

namespace ExampleApplications;

/// <summary>A message that is encrypted or decrypted in pieces of any size (TEE_CipherUpdate).</summary>
internal sealed class PieceCipher : IDisposable
{
    private const int BlockSize = 16;

    private readonly AesCtr? _counter;
    private readonly ICryptoTransform? _transform;

    // ECB and CBC: what is left of the last block.
    private byte[] _left = [];

    public PieceCipher(AesAlgorithm algorithm, bool encrypts, byte[] key, byte[] vector)
    {
        if (algorithm == AesAlgorithm.Ctr)
        {
            _counter = new AesCtr(key);
            _counter.Initialize(vector);
            return;
        }

        using Aes aes = Aes.Create();
        aes.Mode = algorithm == AesAlgorithm.Cbc ? CipherMode.CBC : CipherMode.ECB;
        aes.Padding = PaddingMode.None;
        _transform = encrypts ? aes.CreateEncryptor(key, vector) : aes.CreateDecryptor(key, vector);
    }

    /// <summary>How many bytes the next piece gives.</summary>
    public int GetUpdateSize(int length) => _counter is null
        ? (_left.Length + length) / BlockSize * BlockSize
        : _counter.GetUpdateSize(length);

    public byte[] Update(byte[] piece)
    {
        byte[] output = new byte[GetUpdateSize(piece.Length)];
        if (_counter is not null)
        {
            _ = _counter.Update(piece, output);
            return output;
        }

        byte[] input = [.. _left, .. piece];
        if (output.Length > 0)
        {
            _ = _transform!.TransformBlock(input, 0, output.Length, output, 0);
        }

        _left = input[output.Length..];
        return output;
    }

    public void Dispose()
    {
        _counter?.Dispose();
        _transform?.Dispose();
        CryptographicOperations.ZeroMemory(_left);
    }
}
