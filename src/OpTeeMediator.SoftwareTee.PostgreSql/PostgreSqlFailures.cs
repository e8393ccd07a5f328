using Npgsql;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee.PostgreSql;

/// <summary>Tells the operator, and the TEE, what an exception of PostgreSQL means.</summary>
internal static class PostgreSqlFailures
{
    // SQLSTATE classes: insufficient resources; data corrupted.
    private const string DiskFull = PostgresErrorCodes.DiskFull;
    private const string DataCorrupted = PostgresErrorCodes.DataCorrupted;
    private const string IndexCorrupted = PostgresErrorCodes.IndexCorrupted;

    /// <summary>Runs something, and throws nothing but <see cref="TeeStoreException"/>.</summary>
    public static void Translate(Action action) =>
        _ = Translate(() =>
        {
            action();
            return true;
        });

    /// <inheritdoc cref="Translate(Action)"/>
    public static T Translate<T>(Func<T> action)
    {
        try
        {
            return action();
        }
        catch (Exception exception) when (
            exception is NpgsqlException or TimeoutException or IOException or InvalidOperationException
                or InvalidCastException)
        {
            (TeeStoreFailure failure, string reason) = (exception as PostgresException)?.SqlState switch
            {
                DiskFull => (TeeStoreFailure.Full, "cannot grow, as its disk is full"),
                DataCorrupted or IndexCorrupted => (TeeStoreFailure.Corrupt, "is damaged; restore it"),
                null => (TeeStoreFailure.Unavailable, "cannot be reached"),
                _ => (TeeStoreFailure.Unavailable, "refuses an operation"),
            };
            throw new TeeStoreException(
                failure, $"The PostgreSQL store {reason} ({exception.Message}).", exception);
        }
    }
}
