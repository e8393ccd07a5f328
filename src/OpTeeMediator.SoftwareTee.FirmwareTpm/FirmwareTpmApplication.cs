using System.Buffers;
using System.Security.Cryptography;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.SoftwareTee.FirmwareTpm;

/// <summary>The TPM of a VM, from one reset of the VM to the next, as Linux's driver wants it.</summary>
/// <remarks>
/// Once swtpm has failed, every command is answered with TPM_RC_FAILURE until the VM is reset: a fresh swtpm would have
/// PCRs of zero, and could be made to attest a boot that never was. Source: Linux's <c>tpm_ftpm_tee.c</c>.
/// </remarks>
internal sealed class FirmwareTpmApplication(EngineLauncher launcher, TeeVirtualMachine virtualMachine)
    : TrustedApplication, ISavableApplication, IAsyncDisposable
{
    /// <summary>
    /// FTPM_OPTEE_TA_SUBMIT_COMMAND: parameter 0 is the command, parameter 1 receives the response.
    /// </summary>
    internal const uint SubmitCommand = 0;

    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(20);
    private static readonly byte[] Failure = TpmMessage.Response(TpmMessage.Failure);
    private static readonly byte[] WrongSize = TpmMessage.Response(TpmMessage.CommandSize);

    private static ReadOnlySpan<byte> StateLabel => "state"u8;

    private static ReadOnlySpan<byte> SavedLabel => "saved"u8;

    private readonly TpmTroubles _troubles = launcher.TroublesOf(virtualMachine);
    private readonly byte[] _command = new byte[TpmMessage.MaximumLength];
    private readonly byte[] _response = new byte[TpmMessage.MaximumLength];
    private TpmEngine? _engine;
    private bool _hasFailed;

    public async ValueTask DisposeAsync()
    {
        if (_engine is { } engine)
        {
            _engine = null;
            await engine.DisposeAsync();
        }
    }

    /// <remarks>swtpm goes on, and so does this VM if the state is not used.</remarks>
    public void SaveInstance(IBufferWriter<byte> state)
    {
        TpmBlobs? blobs = _engine is { } engine ? Wait(() => launcher.SaveAsync(engine)) : null;
        byte[] key = Derive(SavedLabel, TpmBlobs.KeyLength);
        TpmBlobs.Write(state, blobs, _hasFailed, key);
        CryptographicOperations.ZeroMemory(key);
    }

    public void RestoreInstance(ReadOnlySpan<byte> state)
    {
        byte[] key = Derive(SavedLabel, TpmBlobs.KeyLength);
        TpmBlobs? blobs = TpmBlobs.Read(state, key, out _hasFailed);
        CryptographicOperations.ZeroMemory(key);
        if (blobs is not null)
        {
            byte[] stateKey = Derive(StateLabel, EngineLauncher.KeyLength);
            try
            {
                _engine = Wait(() => launcher.StartAsync(virtualMachine, stateKey, blobs));
            }
            finally
            {
                CryptographicOperations.ZeroMemory(stateKey);
            }
        }
    }

    /// <remarks>Not called for a restored TPM whose VM goes on elsewhere.</remarks>
    protected override void Destroy() => _engine?.Use();

    protected override async ValueTask<TeeReturnCode> OpenSessionAsync(ApplicationCall call)
    {
        _engine?.Use();
        if (!call.HasParameters())
        {
            return TeeReturnCode.BadParameters;
        }

        if (_engine is not null || _hasFailed)
        {
            return TeeReturnCode.Success;
        }

        byte[] key = new byte[EngineLauncher.KeyLength];
        TeeReturnCode code = DeriveKey(StateLabel, key);
        if (code != TeeReturnCode.Success)
        {
            return code;
        }

        try
        {
            _engine = await launcher.StartAsync(virtualMachine, key);
            return TeeReturnCode.Success;
        }
        catch (EngineException exception)
        {
            // No command was executed yet: the next session may try again.
            _troubles.Refused(exception);
            return TeeReturnCode.Generic;
        }
        finally
        {
            CryptographicOperations.ZeroMemory(key);
        }
    }

    protected override async ValueTask<TeeReturnCode> InvokeCommandAsync(ApplicationCall call)
    {
        _engine?.Use();
        if (call.CommandId != SubmitCommand)
        {
            return TeeReturnCode.NotSupported;
        }

        if (!call.HasParameters(TeeParameterKind.MemoryInput, TeeParameterKind.MemoryInOut) || call[1].IsNull)
        {
            return TeeReturnCode.BadParameters;
        }

        // Asked before the command is executed: what does not fit would be lost.
        if (call[1].Size < TpmMessage.MaximumLength)
        {
            return call[1].ShortBuffer(TpmMessage.MaximumLength);
        }

        int size = call[0].Size;
        if (size is < TpmMessage.HeaderLength or > TpmMessage.MaximumLength)
        {
            return call[1].Write(WrongSize);
        }

        if (!call[0].TryRead(0, _command.AsSpan(0, size)))
        {
            return TeeReturnCode.BadParameters;
        }

        if (TpmMessage.LengthOf(_command) != size)
        {
            return call[1].Write(WrongSize);
        }

        if (_engine is not { } engine)
        {
            return call[1].Write(Failure);
        }

        try
        {
            int length = await ExecuteAsync(engine, call, size);
            return call[1].Write(_response.AsSpan(0, length));
        }
        catch (OperationCanceledException)
        {
            await FailAsync(engine);
            return TeeReturnCode.Cancel;
        }
        catch (Exception exception)
        {
            // Nothing may leave: after a panic the next session would have a new TPM, with PCRs of zero.
            await FailAsync(engine);
            _troubles.Failed(new EngineException($"{exception.Message} Its output: {engine.Output}", exception));
            return call[1].Write(Failure);
        }
    }

    // Saving and restoring are synchronous for an application; no context of the caller's may be waited for.
    private static T Wait<T>(Func<Task<T>> work) => Task.Run(work).GetAwaiter().GetResult();

    private byte[] Derive(ReadOnlySpan<byte> label, int length)
    {
        byte[] key = new byte[length];
        TeeReturnCode code = DeriveKey(label, key);
        return code == TeeReturnCode.Success
            ? key
            : throw new EngineException($"the TPM's key cannot be derived: {code}.");
    }

    // Of cancellations only the end or the reset of the VM ends the wait for swtpm: its answer is needed to know what
    // comes next on the connection.
    private async Task<int> ExecuteAsync(TpmEngine engine, ApplicationCall call, int size)
    {
        using CancellationTokenSource abort = new();
        Task<int> execution = engine.ExecuteAsync(_command.AsMemory(0, size), _response, abort.Token);
        _ = call.UnmaskCancellation();
        CancellationToken token = call.CancellationToken;
        TaskCompletionSource cancelled = new(TaskCreationOptions.RunContinuationsAsynchronously);
        using CancellationTokenRegistration registration =
            token.UnsafeRegister(static source => ((TaskCompletionSource)source!).TrySetResult(), cancelled);
        _ = await Task.WhenAny(execution, cancelled.Task);

        // What is left with a mask is the end or the reset of the VM.
        _ = call.MaskCancellation();
        if (!execution.IsCompleted)
        {
            await engine.CancelAsync();
        }

        while (!execution.IsCompleted && !call.IsCancellationRequested)
        {
            _ = await Task.WhenAny(execution, Task.Delay(PollInterval, CancellationToken.None));
        }

        if (!execution.IsCompleted)
        {
            await abort.CancelAsync();
        }

        return await execution;
    }

    private async Task FailAsync(TpmEngine engine)
    {
        _hasFailed = true;
        _engine = null;
        await engine.AbortAsync();
    }
}
