namespace OpTeeMediator.SoftwareTee.FirmwareTpm;

/// <summary>What the folder of a TPM held before a restore. It is put back if the restored TPM ends without having been
/// used: its VM goes on where it was saved, or is started here.</summary>
/// <remarks>What a process that was killed has left is not put back, because another one may have used the folder
/// since. Not thread-safe.</remarks>
/// <param name="directory">The folder.</param>
/// <param name="giveToOwner">Makes a file that of the user of swtpm.</param>
internal sealed class ReplacedState(string directory, Func<string, Task> giveToOwner)
{
    private readonly string _file = Path.Combine(directory, "tpm2-00.permall");
    private readonly string _copy = Path.Combine(directory, "replaced.permall");
    private bool _isEmpty;

    /// <summary>Copies what the folder holds now.</summary>
    /// <exception cref="EngineException">It cannot be copied.</exception>
    public async Task CopyAsync()
    {
        Discard();
        try
        {
            _isEmpty = !File.Exists(_file);
            if (!_isEmpty)
            {
                File.Copy(_file, _copy);
                await giveToOwner(_copy);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new EngineException($"what its folder holds cannot be kept: {exception.Message}", exception);
        }
    }

    /// <summary>Deletes the copy, if there is one: the restored TPM is used.</summary>
    public void Discard()
    {
        try
        {
            File.Delete(_copy);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // It is of no use to anybody, and is replaced by the next one.
        }
    }

    /// <summary>Puts the copy back. No swtpm runs in the folder.</summary>
    /// <exception cref="EngineException">It cannot be put back.</exception>
    public void PutBack()
    {
        try
        {
            if (_isEmpty)
            {
                File.Delete(_file);
            }
            else
            {
                File.Move(_copy, _file, overwrite: true);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new EngineException(
                $"what its folder held before a restore that was not resumed cannot be put back from {_copy}: "
                + exception.Message,
                exception);
        }
    }
}
