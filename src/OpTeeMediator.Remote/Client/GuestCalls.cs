using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Client;

/// <summary>Does on an operation's thread what its server asks of the guest.</summary>
internal static class GuestCalls
{
    /// <summary>Does it, and writes the answer.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="operation">The operation.</param>
    /// <param name="type">What the server has sent.</param>
    /// <exception cref="ProtocolException">It is no such message.</exception>
    public static void Perform(ServerConnection connection, ClientOperation operation, FrameType type)
    {
        GuestServices? guest = operation.Request?.Guest;
        FrameReader body = operation.Body;
        switch (type)
        {
            case FrameType.GuestCall:
                Call(operation, guest, ref body);
                break;

            case FrameType.Allocate:
                Allocate(connection, operation, guest, ref body);
                break;

            case FrameType.Free:
                uint number = body.ReadUInt32();
                body.End();
                TeeSharedMemory freed = Find(operation, number);
                operation.Allocated[(int)number] = null;
                BeginAnswer(operation, guest?.Free(freed) ?? TeeReturnCode.Communication);
                break;

            case FrameType.BeginWait:
                body.End();
                guest?.BeginWait();
                BeginAnswer(operation, TeeReturnCode.Success);
                break;

            case FrameType.EndWait:
                body.End();
                guest?.EndWait();
                BeginAnswer(operation, TeeReturnCode.Success);
                break;

            default:
                throw new ProtocolException($"a message of type {(ushort)type} for an operation");
        }
    }

    private static void Call(
        ClientOperation operation, GuestServices? guest, ref FrameReader body)
    {
        uint command = body.ReadUInt32();
        uint count = body.ReadUInt32();
        if (count > GuestServices.ParameterCount)
        {
            throw new ProtocolException($"a call to the guest with {count} parameters");
        }

        ParameterArray array = default;
        Span<TeeParameter> parameters = array;
        for (int index = 0; index < (int)count; index++)
        {
            ParameterFrame read = ParameterCodec.Read(ref body);
            ParameterCodec.Set(ref parameters[index], read, read.HasMemory ? Find(operation, read.Memory) : null);
        }

        body.End();
        TeeReturnCode code =
            guest?.Call(command, parameters[..(int)count]) ?? TeeReturnCode.Communication;
        BeginAnswer(operation, code);
        ReadOnlySpan<TeeParameter> outputs = guest is null ? parameters : guest.Parameters;
        for (int index = 0; index < (int)count; index++)
        {
            ref readonly TeeParameter output = ref outputs[index];
            operation.Frame.Write(output.IsMemory ? output.Offset : output.A);
            operation.Frame.Write(output.IsMemory ? output.Size : output.B);
            operation.Frame.Write(output.C);
        }
    }

    private static void Allocate(
        ServerConnection connection,
        ClientOperation operation,
        GuestServices? guest,
        ref FrameReader body)
    {
        uint kind = body.ReadUInt32();
        uint size = body.ReadUInt32();
        body.End();
        if (kind > (uint)GuestMemoryKind.Kernel || size is 0 or > int.MaxValue)
        {
            throw new ProtocolException($"a request for {size} bytes of memory of kind {kind}");
        }

        TeeSharedMemory? memory = guest?.Allocate((GuestMemoryKind)kind, (int)size);
        BeginAnswer(operation, memory is null ? TeeReturnCode.OutOfMemory : TeeReturnCode.Success);
        if (memory is null)
        {
            return;
        }

        if (operation.Allocated.Count < FrameFormat.Allocations
            && connection.TryDescribe(operation.Frame, memory, FrameFormat.RangesPerAllocation, out _))
        {
            operation.Allocated.Add(memory);
            return;
        }

        // The mediator gives it back with the operation.
        BeginAnswer(operation, TeeReturnCode.OutOfMemory);
    }

    private static TeeSharedMemory Find(ClientOperation operation, uint number) =>
        number < (uint)operation.Allocated.Count && operation.Allocated[(int)number] is { } memory
            ? memory
            : throw new ProtocolException($"memory {number}, which the operation has not allocated");

    private static void BeginAnswer(ClientOperation operation, TeeReturnCode code)
    {
        operation.BeginAnswer();
        operation.Frame.Write((uint)code);
        operation.Frame.Write(0u);
    }

    [InlineArray(GuestServices.ParameterCount)]
    private struct ParameterArray
    {
        private TeeParameter _element0;
    }
}
