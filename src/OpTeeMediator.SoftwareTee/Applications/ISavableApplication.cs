using System.Buffers;
using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Applications;

/// <summary>A <see cref="TrustedApplication"/> whose instances go on in another process when their VM is saved and
/// restored.</summary>
/// <remarks>
/// <para>The sessions of an application without it get TEE_ERROR_TARGET_DEAD after a restore, and so do those of an
/// instance that is inside an entry point, or has a session with another application, when its VM is saved.</para>
/// <para>Called while no entry point of the instance runs, on any thread. What an instance allocated
/// (<see cref="TrustedApplication.Allocate"/>) and the handles that it has open in its storage are its fields as any
/// others: save what they hold, and open them again, handles with the first command that needs them. An exception
/// refuses saving or restoring.</para>
/// <para><b>Until the restored VM is resumed, it may still run where it was saved</b>, and goes on there if anything
/// fails. So <see cref="TrustedApplication.Create"/>, <see cref="RestoreInstance"/> and <see cref="RestoreSession"/>
/// change nothing outside of the instance. Trusted storage is not available to them
/// (TEE_ERROR_STORAGE_NOT_AVAILABLE), and a restore in which one of them uses it is refused, as is the saving of an
/// instance whose Create has used it: use storage in the entry points of sessions. Keys can be derived. An instance
/// whose restore has failed is disposed of, without <see cref="TrustedApplication.Destroy"/>.</para>
/// <para>A state that was written without a key may be anybody's: check the lengths in it before memory is allocated
/// for them. These methods are not interrupted; one that does not return keeps the restore from ending.</para>
/// <para>The state is authenticated, and encrypted, if the VMM gives a key (<see cref="State.OpTeeStateOptions.Key"/>).
/// Without one, an application that keeps secrets in its memory writes them in clear.</para>
/// </remarks>
public interface ISavableApplication
{
    /// <summary>Saves what the instance keeps in fields. By default nothing.</summary>
    /// <param name="state">Receives it, in a form of the application's own.</param>
    void SaveInstance(IBufferWriter<byte> state)
    {
    }

    /// <summary>Takes over what <see cref="SaveInstance"/> has saved, in a new instance, after
    /// <see cref="TrustedApplication.Create"/>. By default nothing.</summary>
    /// <param name="state">What was saved.</param>
    void RestoreInstance(ReadOnlySpan<byte> state)
    {
    }

    /// <summary>Saves what belongs to a session.</summary>
    /// <param name="context"><see cref="ApplicationCall.SessionContext"/>.</param>
    /// <param name="state">Receives it. By default nothing, which is right for sessions without a context.</param>
    /// <exception cref="NotSupportedException">By default: there is a context.</exception>
    void SaveSession(object? context, IBufferWriter<byte> state)
    {
        if (context is not null)
        {
            throw new NotSupportedException($"{GetType()} does not say how the context of a session is saved.");
        }
    }

    /// <summary>Makes the context of a session again, after <see cref="RestoreInstance"/>.</summary>
    /// <param name="client">Who has opened the session.</param>
    /// <param name="state">What was saved.</param>
    /// <returns>The session's context. By default none.</returns>
    object? RestoreSession(ClientIdentity client, ReadOnlySpan<byte> state) => null;
}
