using Microsoft.Data.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee.Sqlite;

/// <summary>Tells the operator, and the TEE, what an exception of SQLite means.</summary>
internal static class SqliteFailures
{
    // Primary result codes of sqlite3.h.
    private const int Busy = 5;
    private const int Locked = 6;
    private const int ReadOnly = 8;
    private const int Corrupt = 11;
    private const int Full = 13;
    private const int CannotOpen = 14;
    private const int NotDatabase = 26;

    /// <summary>Runs something, and throws nothing but <see cref="TeeStoreException"/>.</summary>
    public static void Translate(string path, Action action) =>
        _ = Translate(path, () =>
        {
            action();
            return true;
        });

    /// <inheritdoc cref="Translate(string, Action)"/>
    public static T Translate<T>(string path, Func<T> action)
    {
        try
        {
            return action();
        }
        catch (SqliteException exception)
        {
            (TeeStoreFailure failure, string reason) = exception.SqliteErrorCode switch
            {
                Busy or Locked => (TeeStoreFailure.Unavailable, "is locked by another process"),
                ReadOnly => (TeeStoreFailure.Unavailable, "cannot be written; check the modes of file and folder"),
                CannotOpen => (TeeStoreFailure.Unavailable, "cannot be opened; check file and folder"),
                Full => (TeeStoreFailure.Full, "cannot grow, as the disk is full"),
                Corrupt => (TeeStoreFailure.Corrupt, "is damaged; restore it"),
                NotDatabase => (TeeStoreFailure.Corrupt, "is no SQLite database; name another file or restore it"),
                _ => (TeeStoreFailure.Unavailable, "cannot be used"),
            };
            throw new TeeStoreException(failure, $"The store {path} {reason} ({exception.Message}).", exception);
        }
        catch (TeeStoreException exception)
        {
            throw new TeeStoreException(exception.Failure, $"The store {path} {exception.Message}.", exception);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new TeeStoreException($"The store {path} cannot be opened: {exception.Message}", exception);
        }
        catch (InvalidCastException exception)
        {
            throw new TeeStoreException(
                TeeStoreFailure.Corrupt, $"The store {path} has a value of a wrong type; restore it.", exception);
        }
    }
}
