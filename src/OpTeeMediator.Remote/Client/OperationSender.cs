using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Client;

/// <summary>Has operations performed by a server, on the thread that the mediator has prepared for them.</summary>
/// <param name="virtualMachine">The VM's name.</param>
/// <param name="onTerminating">Called with an operation that has begun when its VM is being reset or destroyed already:
/// no cancellation follows.</param>
/// <param name="log">For the VM's partition.</param>
/// <remarks>Thread-safe.</remarks>
internal sealed class OperationSender(
    string virtualMachine, Action<ServerConnection, ClientOperation> onTerminating, ILogger log)
{
    private const int NoFlags = -1;

    /// <summary>Opens a session.</summary>
    /// <returns>The result; COMMUNICATION if the server is gone.</returns>
    public TeeResult Open(ServerConnection connection, TeeRequest request)
    {
        if (!TryRegisterParameters(connection, request, out TeeReturnCode refusal))
        {
            return TeeResult.FromTee(refusal);
        }

        ClientOperation operation = connection.Begin(FrameType.OpenSession, request);
        try
        {
            int flags = operation.Frame.Reserve();
            operation.Frame.Write((uint)request.Client.Login);
            operation.Frame.Write(request.Application);
            operation.Frame.Write(request.Client.Uuid);
            if (!TryWriteParameters(connection, operation, request, out refusal))
            {
                return TeeResult.FromTee(refusal);
            }

            if (!TryPerform(connection, operation, flags, out TeeResult result, out uint session))
            {
                return TeeResult.CommunicationFailure;
            }

            if (result.IsSuccess)
            {
                request.Session = new RemoteSession(this, connection, session);
            }

            return result;
        }
        finally
        {
            connection.End(operation);
        }
    }

    /// <summary>Invokes a command.</summary>
    /// <returns>The result; TARGET_DEAD if the server of the session is gone.</returns>
    public TeeResult Invoke(ServerConnection connection, uint session, TeeRequest request)
    {
        if (connection.IsLost)
        {
            return Dead;
        }

        if (!TryRegisterParameters(connection, request, out TeeReturnCode refusal))
        {
            return TeeResult.FromTee(refusal);
        }

        ClientOperation operation = connection.Begin(FrameType.InvokeCommand, request);
        try
        {
            int flags = operation.Frame.Reserve();
            operation.Frame.Write(session);
            operation.Frame.Write(request.CommandId);
            if (!TryWriteParameters(connection, operation, request, out refusal))
            {
                return TeeResult.FromTee(refusal);
            }

            return TryPerform(connection, operation, flags, out TeeResult result, out _) ? result : Dead;
        }
        finally
        {
            connection.End(operation);
        }
    }

    /// <summary>Closes a session, if its server is there.</summary>
    public void Close(ServerConnection connection, uint session, TeeRequest request)
    {
        if (connection.IsLost)
        {
            return;
        }

        ClientOperation operation = connection.Begin(FrameType.CloseSession, request);
        try
        {
            int flags = operation.Frame.Reserve();
            operation.Frame.Write(session);
            _ = TryPerform(connection, operation, flags, out _, out _);
        }
        finally
        {
            connection.End(operation);
        }
    }

    /// <summary>Registers a buffer.</summary>
    /// <returns>The server's answer; success too if it is gone: the next one learns of the buffer when it needs it.
    /// </returns>
    public TeeReturnCode Register(ServerConnection connection, TeeSharedMemory memory, RemoteBuffer buffer)
    {
        lock (buffer.Lock)
        {
            if (buffer.Connection == connection || connection.IsLost)
            {
                return TeeReturnCode.Success;
            }

            if (!connection.TryTakeBufferNumber(out uint number))
            {
                return TeeReturnCode.OutOfMemory;
            }

            ClientOperation operation = connection.Begin(FrameType.RegisterMemory, null);
            try
            {
                operation.Frame.Write(number);
                if (!connection.TryDescribe(operation.Frame, memory, connection.Limits.Ranges, out int pieces)
                    || !connection.TryTakePieces(pieces))
                {
                    connection.FreeBufferNumber(number);
                    log.BufferTooScattered(virtualMachine, memory.Size, TeeReturnCode.OutOfMemory);
                    return TeeReturnCode.OutOfMemory;
                }

                if (!TryPerform(connection, operation, NoFlags, out TeeResult result, out _))
                {
                    return TeeReturnCode.Success;
                }

                if (result.IsSuccess)
                {
                    buffer.Number = number;
                    buffer.Pieces = pieces;
                    buffer.Connection = connection;
                }
                else
                {
                    connection.FreePieces(pieces);
                    connection.FreeBufferNumber(number);
                }

                return result.Code;
            }
            finally
            {
                connection.End(operation);
            }
        }
    }

    /// <summary>Unregisters a buffer, if a server knows it.</summary>
    public void Unregister(RemoteBuffer buffer)
    {
        if (buffer.Connection is not { IsLost: false } connection)
        {
            return;
        }

        ClientOperation operation = connection.Begin(FrameType.UnregisterMemory, null);
        try
        {
            operation.Frame.Write(buffer.Number);
            if (TryPerform(connection, operation, NoFlags, out _, out _))
            {
                connection.FreePieces(buffer.Pieces);
                connection.FreeBufferNumber(buffer.Number);
            }
        }
        finally
        {
            buffer.Connection = null;
            connection.End(operation);
        }
    }

    /// <summary>Has the server reset or destroy the VM.</summary>
    public static async ValueTask SendAsync(ServerConnection connection, FrameType type)
    {
        ClientOperation operation = connection.Begin(type, null);
        try
        {
            if (operation.TryStart(NoFlags))
            {
                _ = await operation.WaitAsync();
            }
        }
        finally
        {
            connection.End(operation);
        }
    }

    private static TeeResult Dead => new(TeeReturnCode.TargetDead, TeeOrigin.Tee);

    // A server that was started again does not know the buffers of before.
    private bool TryRegisterParameters(ServerConnection connection, TeeRequest request, out TeeReturnCode refusal)
    {
        foreach (ref readonly TeeParameter parameter in request.Parameters)
        {
            if (parameter.Memory is { BackendState: RemoteBuffer buffer } memory && buffer.Connection != connection)
            {
                refusal = Register(connection, memory, buffer);
                if (refusal != TeeReturnCode.Success)
                {
                    return false;
                }
            }
        }

        refusal = TeeReturnCode.Success;
        return true;
    }

    private bool TryWriteParameters(
        ServerConnection connection, ClientOperation operation, TeeRequest request, out TeeReturnCode refusal)
    {
        foreach (ref readonly TeeParameter parameter in request.Parameters)
        {
            ParameterCodec.Write(operation.Frame, parameter, parameter.Memory switch
            {
                null => FrameFormat.NoMemory,
                { BackendState: RemoteBuffer buffer } => buffer.Number,
                _ => FrameFormat.TemporaryMemory,
            });
        }

        foreach (ref readonly TeeParameter parameter in request.Parameters)
        {
            if (parameter.Memory is { } memory and not { BackendState: RemoteBuffer }
                && !connection.TryDescribe(operation.Frame, memory, connection.Limits.Ranges, out _))
            {
                refusal = TeeReturnCode.OutOfMemory;
                log.BufferTooScattered(virtualMachine, memory.Size, refusal);
                return false;
            }
        }

        refusal = TeeReturnCode.Success;
        return true;
    }

    /// <returns><see langword="false"/> if the server is gone.</returns>
    private bool TryPerform(
        ServerConnection connection, ClientOperation operation, int flags, out TeeResult result, out uint session)
    {
        result = default;
        session = 0;
        try
        {
            bool isSent = operation.TryStart(flags);
            if (isSent && operation.Request is { IsTerminationRequested: true })
            {
                onTerminating(connection, operation);
            }

            for (; isSent; isSent = operation.TryAnswer())
            {
                switch (operation.Wait())
                {
                    case FrameType.None:
                        return false;

                    case FrameType.Result:
                        ReadResult(operation, out result, out session);
                        return true;

                    case FrameType type:
                        GuestCalls.Perform(connection, operation, type);
                        break;
                }
            }
        }
        catch (ProtocolException violation)
        {
            log.ServerMalformed(virtualMachine, violation.Message);
            connection.Close();
        }
        catch
        {
            // The server still waits for an answer, which nobody gives any more.
            connection.Close();
            throw;
        }

        return false;
    }

    private static void ReadResult(ClientOperation operation, out TeeResult result, out uint session)
    {
        FrameReader body = operation.Body;
        result = new TeeResult((TeeReturnCode)body.ReadUInt32(), (TeeOrigin)body.ReadUInt32());
        session = body.ReadUInt32();
        _ = body.ReadUInt32();
        for (int index = 0; index < TeeRequest.ParameterCount; index++)
        {
            ulong first = body.ReadUInt64();
            ulong second = body.ReadUInt64();
            if (operation.Request is { } request && request.Parameters[index].IsOutput)
            {
                request.SetValue(index, first, second);
                request.SetSize(index, second);
            }
        }

        body.End();
    }
}
