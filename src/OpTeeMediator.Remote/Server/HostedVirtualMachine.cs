using System.Diagnostics;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Server;

/// <summary>One VM's connection, from its HELLO to its end.</summary>
/// <param name="channel">The connection; this object disposes of it.</param>
/// <param name="settings">What the VM gets.</param>
internal sealed class HostedVirtualMachine(FrameChannel channel, HostingSettings settings)
{
    private static readonly TimeSpan WarnAfter = TimeSpan.FromSeconds(10);

    private readonly FrameBuilder _frame = new();
    private readonly ILogger _log = settings.Logger;
    private string _name = "?";

    /// <summary>Serves the VM until its connection ends. Never throws.</summary>
    /// <returns>
    /// <see langword="false"/> if operations have not ended within the deadline: what they use is not freed.
    /// </returns>
    public bool Run()
    {
        bool isFreed = true;
        try
        {
            if (Greet() is { } environment)
            {
                isFreed = Serve(environment);
            }
        }
        catch (ProtocolException violation)
        {
            _log.Malformed(_name, violation.Message);
        }
        catch (Exception exception)
        {
            _log.TeardownFailed(_name, exception);
        }
        finally
        {
            channel.Dispose();
        }

        return isFreed;
    }

    /// <returns><see langword="null"/> if the VM is refused, or gone.</returns>
    private HostedEnvironment? Greet()
    {
        if (!channel.TryReceive(out FrameHeader header, out ReadOnlySpan<byte> body))
        {
            return null;
        }

        if (header.Type != FrameType.Hello)
        {
            throw new ProtocolException($"a message of type {(ushort)header.Type} before its HELLO");
        }

        if (Hello.Read(new FrameReader(body), out uint version) is not { } hello)
        {
            Refuse($"The VMM speaks version {version} of the protocol, this server version {FrameFormat.Version}: use "
                + "the same version of OpTeeMediator.Remote on both sides.");
            return null;
        }

        _name = hello.Name;
        if (hello.Calls > settings.MaximumCalls)
        {
            Refuse($"The VM asks for {hello.Calls} calls at a time, and this server allows {settings.MaximumCalls}: "
                + "lower OpTeeLimits.Calls in the VMM, or raise TeeServerOptions.MaximumCalls.");
            return null;
        }

        return CreatePartition(hello);
    }

    private HostedEnvironment? CreatePartition(Hello hello)
    {
        TeeAccess access = settings.AccessOf(hello.Applications);
        TeeVirtualMachine virtualMachine = new(hello.Name, access, hello.Calls, settings.LoggerFactory)
        {
            Identity = hello.Id,
            MappingGranule = Environment.SystemPageSize,
        };
        ITeePartition partition;
        try
        {
            partition = settings.Backend.CreatePartition(virtualMachine)
                ?? throw new TeeUnavailableException("The TEE returned no partition.");
        }
        catch (Exception exception)
        {
            _log.PartitionFailed(_name, exception);
            Refuse(exception is TeeUnavailableException
                ? exception.Message
                : "The TEE failed to create the VM's partition; the server's log says why.");
            return null;
        }

        // Two more than the guest has calls: the teardown of an earlier driver, and a reset.
        ProtocolLimits limits = settings.Limits with { Operations = hello.Calls + 2 };
        HostedFiles files = new(settings.PermitsHugePages);
        return new HostedEnvironment(
            virtualMachine,
            partition,
            partition.Execution,
            channel,
            limits,
            files,
            new HostedSessions(limits.Sessions),
            new HostedBuffers(limits),
            new BackendFailures(_name, _log),
            settings.MaximumState,
            _log);
    }

    private bool Serve(HostedEnvironment environment)
    {
        bool isFreed;
        HostedOperation[] operations =
            [.. Enumerable.Range(0, environment.Limits.Operations).Select(i => new HostedOperation(environment, i))];
        HostedMove move = new(environment);
        uint destruction = 0;
        try
        {
            IReadOnlyList<TeeDevice>? devices = environment.Partition.Devices;
            new Welcome(
                settings.Partition,
                environment.Limits,
                devices,
                environment.Partition.Revision,
                CanSave: environment.Savable is not null,
                KnowsOutcome: environment.Savable is not null).Write(_frame);
            if (channel.TrySend(_frame.Frame))
            {
                _log.Connected(_name, settings.Partition, environment.VirtualMachine.ConcurrentCalls);
                channel.Partition = settings.Partition;
                channel.MaximumFrame = environment.Limits.Frame;
                channel.ReceiveTimeout = Timeout.InfiniteTimeSpan;
                destruction = ReceiveAll(environment, operations, move);
            }
        }
        catch (ProtocolException violation)
        {
            _log.Malformed(_name, violation.Message);
            channel.Close();
        }
        finally
        {
            isFreed = TearDown(environment, operations, move);
            if (destruction != 0)
            {
                _frame.Begin(FrameType.Result, channel.Partition, destruction);
                _ = channel.TrySend(_frame.Frame);
            }

            _log.Gone(_name);
        }

        return isFreed;
    }

    /// <returns>The operation by which the client ends the VM; 0 if the connection has ended.</returns>
    private uint ReceiveAll(HostedEnvironment environment, HostedOperation[] operations, HostedMove move)
    {
        HostedOperation? transfer = null;
        bool hasBegun = false;
        while (channel.TryReceive(out FrameHeader header, out ReadOnlySpan<byte> body))
        {
            FrameReader reader = new(body);
            if (header.Type == FrameType.AddFile)
            {
                reader.End();
                environment.Files.Add(channel.TakeDescriptor());
                continue;
            }

            if (header.Type is FrameType.Commit or FrameType.Abandon && environment.Savable is not null)
            {
                reader.End();
                ThrowIfTransferring(transfer);
                move.Take(header.Type, null);
                continue;
            }

            // The low half is the operation's number, the high one tells earlier ones apart.
            uint index = header.Operation & 0xffff;
            if (index >= (uint)operations.Length)
            {
                throw new ProtocolException($"operation {index} of {operations.Length}");
            }

            HostedOperation operation = operations[index];
            switch (header.Type)
            {
                case FrameType.OpenSession or FrameType.InvokeCommand or FrameType.CloseSession
                    or FrameType.RegisterMemory or FrameType.UnregisterMemory or FrameType.Reset:
                    ThrowIfTransferring(transfer);
                    move.Take(header.Type, operation);
                    hasBegun = true;
                    operation.Begin(header, reader);
                    break;

                case FrameType.CanSave or FrameType.Save or FrameType.Restore when environment.Savable is not null:
                    ThrowIfTransferring(transfer);
                    if (header.Type == FrameType.Restore ? hasBegun : !Array.TrueForAll(operations, IsQuiet))
                    {
                        throw new ProtocolException($"a {header.Type} while operations run, or after some");
                    }

                    transfer = operation;
                    move.Take(header.Type, operation);
                    hasBegun = true;
                    operation.Begin(header, reader);
                    break;

                case FrameType.Answer:
                    move.Take(header.Type, operation);
                    operation.TakeAnswer(header.Operation, reader);
                    break;

                case FrameType.Cancel:
                    uint flags = reader.ReadUInt32();
                    reader.End();
                    operation.Cancel(header.Operation, flags);
                    break;

                case FrameType.Destroy:
                    reader.End();
                    if (header.Operation == 0)
                    {
                        throw new ProtocolException("a DESTROY without an operation");
                    }

                    if (transfer is not { IsTransferring: true })
                    {
                        move.Take(header.Type, operation);
                    }

                    return header.Operation;

                default:
                    throw new ProtocolException($"a message of type {(ushort)header.Type}");
            }
        }

        return 0;
    }

    private static bool IsQuiet(HostedOperation operation) => operation.IsQuiet;

    // The client has paused its VM.
    private static void ThrowIfTransferring(HostedOperation? transfer)
    {
        if (transfer is { IsTransferring: true })
        {
            throw new ProtocolException("an operation while a state is saved or restored");
        }
    }

    private bool TearDown(HostedEnvironment environment, HostedOperation[] operations, HostedMove move)
    {
        foreach (HostedOperation operation in operations)
        {
            operation.LoseClient();
        }

        if (!WaitForOperations(operations))
        {
            return false;
        }

        move.EndConnection();
        try
        {
            FreeAsync(environment, operations[0]).AsTask().GetAwaiter().GetResult();
        }
        catch (Exception exception)
        {
            _log.TeardownFailed(_name, exception);
        }

        foreach (HostedOperation operation in operations)
        {
            operation.Stop();
        }

        environment.Files.Dispose();
        return true;
    }

    private bool WaitForOperations(HostedOperation[] operations)
    {
        // Their end is not signalled, which would cost every call something: they end soon, or it takes long anyway.
        long start = Stopwatch.GetTimestamp();
        bool isLogged = false;
        while (operations.Count(operation => operation.IsRunning) is > 0 and int running)
        {
            Thread.Sleep(isLogged ? 100 : 1);
            TimeSpan elapsed = Stopwatch.GetElapsedTime(start);
            if (settings.OperationsDeadline != Timeout.InfiniteTimeSpan && elapsed > settings.OperationsDeadline)
            {
                _log.OperationsEndWithProcess(_name, running, elapsed.TotalSeconds);
                return false;
            }

            if (!isLogged && elapsed > WarnAfter)
            {
                isLogged = true;
                _log.OperationsOutliveClient(_name, running, WarnAfter.TotalSeconds);
            }
        }

        return true;
    }

    private async ValueTask FreeAsync(HostedEnvironment environment, HostedOperation operation)
    {
        while (environment.Sessions.FindAny() is { } session)
        {
            _ = environment.Sessions.Take(session.Number);
            await TryAsync(() => operation.CloseAsync(session.Session));
        }

        while (environment.Buffers.TakeAny() is { } buffer)
        {
            await TryAsync(() => environment.Partition.UnregisterMemoryAsync(buffer));
        }

        await TryAsync(environment.Partition.DisposeAsync);
    }

    // One failure must not keep the rest from being freed.
    private async ValueTask TryAsync(Func<ValueTask> free)
    {
        try
        {
            await free();
        }
        catch (Exception exception)
        {
            _log.TeardownFailed(_name, exception);
        }
    }

    private void Refuse(string message)
    {
        _log.Refused(_name, message);
        channel.TrySendRefusal(_frame, message);
    }
}
