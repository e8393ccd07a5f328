using System.Buffers.Binary;
using System.Diagnostics;
using System.Net.Sockets;

namespace OpTeeMediator.SoftwareTee.FirmwareTpm;

/// <summary>One process of swtpm, the TPM of a VM from one reset to the next.</summary>
/// <remarks>
/// <para>swtpm takes one command at a time and reads its control channel between commands: a cancellation that comes
/// during a command is handled after it.</para>
/// <para>Source: swtpm's <c>tpm_ioctl.h</c>; all numbers are big-endian. Not thread-safe.</para>
/// </remarks>
/// <param name="process">The process, with redirected streams; the engine owns it.</param>
/// <param name="commandTimeout">How long a command may take.</param>
internal sealed class TpmEngine(Process process, TimeSpan commandTimeout) : IAsyncDisposable
{
    private const uint Initialize = 2;
    private const uint Shutdown = 3;
    private const uint CancelCommand = 9;
    private const uint GetStateBlob = 12;
    private const uint SetStateBlob = 13;

    // Of CMD_INIT: a volatile state that has been taken over is not to be found by the next start.
    private const uint DeleteVolatileState = 1;

    // Of CMD_SET_STATEBLOB, and of the answer to CMD_GET_STATEBLOB.
    private const uint IsEncrypted = 2;

    // TPM_RETRY: there is no such blob.
    private const uint NoBlob = 0x800;

    // TPM_FAIL, of CMD_INIT also for a folder that another process has locked.
    private const uint Failed = 9;

    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(5);

    // The swtpm of a VMM that was killed a moment ago may still be there.
    private static readonly TimeSpan LockInterval = TimeSpan.FromMilliseconds(100);
    private const int LockAttempts = 10;

    // At the end swtpm may be busy with a command that nobody waits for any more.
    private static readonly TimeSpan ShutdownTimeout = TimeSpan.FromSeconds(2);

    private readonly byte[] _controlMessage = new byte[8];
    private readonly byte[] _controlResult = new byte[4];
    private Socket? _control;
    private Socket? _data;
    private ReplacedState? _replaced;
    private bool _hasCancelled;

    /// <summary>The end of what swtpm has written.</summary>
    public EngineOutput Output { get; } = Follow(process);

    /// <summary>Connects both channels as soon as swtpm listens.</summary>
    public async Task ConnectAsync(string control, string data, CancellationToken deadline)
    {
        _control = await ConnectAsync(control, deadline);
        _data = await ConnectAsync(data, deadline);
    }

    /// <summary>Resets the TPM (CMD_INIT), whose state is read then.</summary>
    public async Task InitializeAsync(CancellationToken deadline)
    {
        uint result = await ControlAsync(Initialize, argument: 0, deadline);
        if (result != 0)
        {
            throw new EngineException(
                $"its state cannot be used (result 0x{result:x}); is the key another one than when it was written?");
        }
    }

    /// <summary>Gets the TPM's state (CMD_GET_STATEBLOB), while no command is executed. The TPM goes on.</summary>
    /// <exception cref="EngineException">swtpm works no more, or gives no usable state.</exception>
    public async Task<TpmBlobs> SaveAsync(CancellationToken deadline)
    {
        ReadOnlyMemory<byte>[] blobs = new ReadOnlyMemory<byte>[TpmBlobs.Kinds];
        byte[] request = new byte[4 * sizeof(uint)];
        byte[] header = new byte[4 * sizeof(uint)];
        for (int index = 0; index < blobs.Length; index++)
        {
            // No flags: as it is stored, encrypted under the key of this VM's TPM; from the first byte on.
            WriteWords(request, GetStateBlob, 0, (uint)index + 1, 0);
            await SendAsync(request, deadline);
            await ReceiveAsync(_control!, header, deadline);
            uint result = BinaryPrimitives.ReadUInt32BigEndian(header);
            uint flags = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(4));
            uint length = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(12));
            if (length != BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(8))
                || !TpmBlobs.IsLength(index, length) || (length != 0 && (flags & IsEncrypted) == 0)
                || (result != 0 && (result != NoBlob || length != 0)))
            {
                throw new EngineException(
                    $"its state blob {index + 1} cannot be saved (result 0x{result:x}, {length} bytes, flags "
                    + $"{flags}).");
            }

            byte[] blob = new byte[length];
            await ReceiveAsync(_control!, blob, deadline);
            blobs[index] = blob;
        }

        return new TpmBlobs(blobs);
    }

    /// <summary>Takes over a state (CMD_SET_STATEBLOB) instead of the one in the folder, and goes on with it.</summary>
    /// <param name="blobs">The state.</param>
    /// <param name="replaced">Keeps what the folder holds, until <see cref="Use"/>.</param>
    /// <param name="deadline">Ends the attempt.</param>
    /// <remarks>swtpm checks each blob when it gets it, and writes none of them into the folder before CMD_INIT, which
    /// locks the folder first.</remarks>
    public async Task RestoreAsync(TpmBlobs blobs, ReplacedState replaced, CancellationToken deadline)
    {
        for (int attempt = 1; ; attempt++)
        {
            for (int index = 0; index < blobs.Blobs.Count; index++)
            {
                if (!blobs.Blobs[index].IsEmpty)
                {
                    await SetBlobAsync(index, blobs.Blobs[index], deadline);
                }
            }

            // Each time: who had the folder locked may have changed what it holds.
            await replaced.CopyAsync();
            uint result = await ControlAsync(Initialize, DeleteVolatileState, deadline);
            if (result == 0)
            {
                _replaced = replaced;
                return;
            }

            if (result != Failed || attempt == LockAttempts)
            {
                throw new EngineException(
                    $"the saved state cannot be used (result 0x{result:x}); has another process this VM's TPM?");
            }

            await Task.Delay(LockInterval, deadline);
        }
    }

    /// <summary>The VM runs here: the folder keeps the state that was restored.</summary>
    public void Use()
    {
        _replaced?.Discard();
        _replaced = null;
    }

    /// <summary>Executes a command.</summary>
    /// <param name="command">The command, whose header has been checked.</param>
    /// <param name="response">Receives the response, <see cref="TpmMessage.MaximumLength"/> bytes.</param>
    /// <param name="abort">Ends the wait; the engine is of no use then.</param>
    /// <returns>The response's length.</returns>
    /// <exception cref="EngineException">swtpm works no more.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="abort"/> has ended it.</exception>
    public async Task<int> ExecuteAsync(
        ReadOnlyMemory<byte> command, Memory<byte> response, CancellationToken abort)
    {
        using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(abort);
        deadline.CancelAfter(commandTimeout);
        try
        {
            // swtpm takes what one read returns for one command, and one write of this length is one read.
            if (await _data!.SendAsync(command, deadline.Token) != command.Length)
            {
                throw new EngineException("it has taken a part of a command only.");
            }

            await ReceiveAsync(_data, response[..TpmMessage.HeaderLength], deadline.Token);
            uint length = TpmMessage.LengthOf(response.Span);
            if (length is < TpmMessage.HeaderLength or > TpmMessage.MaximumLength)
            {
                throw new EngineException($"it has answered with a response of {length} bytes.");
            }

            await ReceiveAsync(_data, response[TpmMessage.HeaderLength..(int)length], deadline.Token);
            if (_hasCancelled)
            {
                // Handled now at the latest, so that it cannot end the next command.
                _hasCancelled = false;
                await ReceiveAsync(_control!, _controlResult, deadline.Token);
            }

            return (int)length;
        }
        catch (OperationCanceledException exception) when (!abort.IsCancellationRequested)
        {
            throw new EngineException($"it has not answered a command within {commandTimeout}.", exception);
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            throw new EngineException($"the connection is broken: {exception.Message}.", exception);
        }
    }

    /// <summary>Asks for an early end of the command that is being executed (CMD_CANCEL_TPM_CMD).</summary>
    public async Task CancelAsync()
    {
        if (!_hasCancelled)
        {
            _hasCancelled = true;
            BinaryPrimitives.WriteUInt32BigEndian(_controlMessage, CancelCommand);
            try
            {
                _ = await _control!.SendAsync(_controlMessage.AsMemory(0, sizeof(uint)));
            }
            catch (SocketException)
            {
                // The command notices it, too.
            }
        }
    }

    /// <summary>Ends the process at once.</summary>
    public async Task AbortAsync()
    {
        process.Kill();
        await EndAsync();
    }

    /// <summary>Ends the process, at once if it does not end by itself in time. What a restore has replaced is put
    /// back, unless the TPM was used.</summary>
    /// <exception cref="EngineException">It cannot be put back.</exception>
    public async ValueTask DisposeAsync()
    {
        using CancellationTokenSource deadline = new(ShutdownTimeout);
        try
        {
            _ = await ControlAsync(Shutdown, argument: null, deadline.Token);
            _data!.Dispose();
            await process.WaitForExitAsync(deadline.Token);
        }
        catch (Exception exception)
            when (exception is SocketException or EngineException or OperationCanceledException)
        {
            process.Kill();
        }

        await EndAsync();
        _replaced?.PutBack();
    }

    private static EngineOutput Follow(Process process)
    {
        EngineOutput output = new();
        _ = output.ReadAsync(process.StandardOutput);
        _ = output.ReadAsync(process.StandardError);
        return output;
    }

    private static async Task ReceiveAsync(Socket socket, Memory<byte> buffer, CancellationToken cancellation)
    {
        while (!buffer.IsEmpty)
        {
            int length = await socket.ReceiveAsync(buffer, cancellation);
            if (length == 0)
            {
                throw new EngineException("it has ended.");
            }

            buffer = buffer[length..];
        }
    }

    private async Task<Socket> ConnectAsync(string path, CancellationToken deadline)
    {
        UnixDomainSocketEndPoint address = new(path);
        while (true)
        {
            Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                await socket.ConnectAsync(address, deadline);
                return socket;
            }
            catch (SocketException) when (!process.HasExited)
            {
                socket.Dispose();
                await Task.Delay(PollInterval, deadline);
            }
            catch (SocketException exception)
            {
                socket.Dispose();
                throw new EngineException($"it has ended with status {process.ExitCode}", exception);
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }
    }

    private async Task SetBlobAsync(int index, ReadOnlyMemory<byte> blob, CancellationToken deadline)
    {
        byte[] message = new byte[(4 * sizeof(uint)) + blob.Length];
        WriteWords(message, SetStateBlob, IsEncrypted, (uint)index + 1, (uint)blob.Length);
        blob.CopyTo(message.AsMemory(4 * sizeof(uint)));
        await SendAsync(message, deadline);
        await ReceiveAsync(_control!, _controlResult, deadline);
        uint result = BinaryPrimitives.ReadUInt32BigEndian(_controlResult);
        if (result != 0)
        {
            throw new EngineException(
                $"it refuses the saved state blob {index + 1} (result 0x{result:x}); is the key another one than when "
                + "it was saved?");
        }
    }

    private async Task SendAsync(ReadOnlyMemory<byte> message, CancellationToken deadline)
    {
        while (!message.IsEmpty)
        {
            message = message[await _control!.SendAsync(message, deadline)..];
        }
    }

    private static void WriteWords(Span<byte> message, params ReadOnlySpan<uint> words)
    {
        foreach (uint word in words)
        {
            BinaryPrimitives.WriteUInt32BigEndian(message, word);
            message = message[sizeof(uint)..];
        }
    }

    private async Task<uint> ControlAsync(uint command, uint? argument, CancellationToken deadline)
    {
        WriteWords(_controlMessage, command, argument ?? 0);
        _ = await _control!.SendAsync(_controlMessage.AsMemory(0, argument is null ? 4 : 8), deadline);
        await ReceiveAsync(_control, _controlResult, deadline);
        return BinaryPrimitives.ReadUInt32BigEndian(_controlResult);
    }

    private async Task EndAsync()
    {
        await process.WaitForExitAsync();
        _control?.Dispose();
        _data?.Dispose();
        process.Dispose();
    }
}
