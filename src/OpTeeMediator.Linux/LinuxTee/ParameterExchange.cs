using OpTeeMediator.Backends;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>One operation's parameters on their way to the host's driver and back.</summary>
/// <remarks>Lies on the calling thread's stack. Disposal ends registrations for this operation only.</remarks>
internal struct ParameterExchange : IDisposable
{
    private HostBuffers _buffers;
    private HostBuffers _temporary;

    /// <summary>Fills the driver's parameters, registering and copying what has to be, or refuses.</summary>
    internal TeeReturnCode Prepare(ReadOnlySpan<TeeParameter> parameters, Span<TeeIoctlParameter> target, HostTee tee)
    {
        for (int index = 0; index < parameters.Length; index++)
        {
            ref readonly TeeParameter parameter = ref parameters[index];
            ref TeeIoctlParameter there = ref target[index];
            there = default;
            there.Attributes = (ulong)parameter.Kind;
            if (!parameter.IsMemory)
            {
                there.A = parameter.IsInput ? parameter.A : 0;
                there.B = parameter.IsInput ? parameter.B : 0;
                continue;
            }

            there.B = parameter.Capacity;
            if (parameter.Memory is not { Size: not 0 } memory)
            {
                there.C = TeeIoctl.NullReference;
                continue;
            }

            TeeReturnCode code = Find(memory, index, tee);
            if (code != TeeReturnCode.Success)
            {
                return code;
            }

            HostBuffer buffer = _buffers[index]!;
            if (buffer.IsCopied && parameter.IsInput && !buffer.TryCopyIn(memory, parameter.Offset, parameter.Capacity))
            {
                return TeeReturnCode.BadParameters;
            }

            there.A = parameter.Offset;
            there.C = buffer.Id;
        }

        return TeeReturnCode.Success;
    }

    /// <summary>Takes the driver's answer, also with an error: a size query is answered so.</summary>
    internal readonly void Finish(TeeRequest request, ReadOnlySpan<TeeIoctlParameter> source)
    {
        ReadOnlySpan<TeeParameter> parameters = request.Parameters;
        for (int index = 0; index < parameters.Length; index++)
        {
            ref readonly TeeParameter parameter = ref parameters[index];
            if (!parameter.IsOutput)
            {
                continue;
            }

            ref readonly TeeIoctlParameter there = ref source[index];
            if (!parameter.IsMemory)
            {
                request.SetValue(index, there.A, there.B);
                continue;
            }

            request.SetSize(index, there.B);
            if (_buffers[index] is { IsCopied: true } buffer && there.B <= parameter.Capacity)
            {
                // The guest's memory may be gone; then nobody misses the bytes.
                _ = buffer.TryCopyOut(parameter.Memory!, parameter.Offset, there.B);
            }
        }
    }

    public readonly void Dispose()
    {
        foreach (HostBuffer? buffer in _temporary)
        {
            buffer?.Dispose();
        }
    }

    private TeeReturnCode Find(TeeSharedMemory memory, int index, HostTee tee)
    {
        if (memory.BackendState is HostBuffer registered)
        {
            _buffers[index] = registered;
            return TeeReturnCode.Success;
        }

        TeeReturnCode code = HostBuffer.TryShare(tee, memory, out HostBuffer? buffer);
        _buffers[index] = buffer;
        _temporary[index] = buffer;
        return code;
    }
}
