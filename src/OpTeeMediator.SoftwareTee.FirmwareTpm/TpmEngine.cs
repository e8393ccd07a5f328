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

    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(5);

    // At the end swtpm may be busy with a command that nobody waits for any more.
    private static readonly TimeSpan ShutdownTimeout = TimeSpan.FromSeconds(2);

    private readonly byte[] _controlMessage = new byte[8];
    private readonly byte[] _controlResult = new byte[4];
    private Socket? _control;
    private Socket? _data;
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
        uint result = await ControlAsync(Initialize, hasArgument: true, deadline);
        if (result != 0)
        {
            throw new EngineException(
                $"its state cannot be used (result 0x{result:x}); is the key another one than when it was written?");
        }
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

    /// <summary>Ends the process, at once if it does not end by itself in time.</summary>
    public async ValueTask DisposeAsync()
    {
        using CancellationTokenSource deadline = new(ShutdownTimeout);
        try
        {
            _ = await ControlAsync(Shutdown, hasArgument: false, deadline.Token);
            _data!.Dispose();
            await process.WaitForExitAsync(deadline.Token);
        }
        catch (Exception exception)
            when (exception is SocketException or EngineException or OperationCanceledException)
        {
            process.Kill();
        }

        await EndAsync();
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

    private async Task<uint> ControlAsync(uint command, bool hasArgument, CancellationToken deadline)
    {
        BinaryPrimitives.WriteUInt32BigEndian(_controlMessage, command);
        BinaryPrimitives.WriteUInt32BigEndian(_controlMessage.AsSpan(sizeof(uint)), 0);
        _ = await _control!.SendAsync(_controlMessage.AsMemory(0, hasArgument ? 8 : 4), deadline);
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
