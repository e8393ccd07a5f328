using OpTeeMediator.Backends;

namespace OpTeeMediator.Calls;

/// <summary>The pseudo-application by which the guest's kernel learns which applications it has drivers for.</summary>
/// <remarks>The mediator answers it for every backend, so that a guest sees only what it may reach. Source: OP-TEE's
/// <c>pta_device.h</c>. The commands are PTA_CMD_GET_DEVICES* (<see cref="TeeDeviceDependency"/>) with one output: the
/// UUIDs as 16 octets each, or SHORT_BUFFER with the size they need.</remarks>
internal sealed class DeviceEnumeration(IEnumerable<TeeDevice> devices) : ITeeSession
{
    public static readonly Guid Uuid = new("7011a688-ddde-4053-a5a9-7b3c4ddf13b8");

    private const int UuidSize = 16;

    private readonly TeeDevice[] _devices = [.. devices];

    public ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request) =>
        ValueTask.FromResult(new TeeResult(Answer(request), TeeOrigin.TrustedApplication));

    private TeeReturnCode Answer(TeeRequest request)
    {
        ReadOnlySpan<TeeParameter> parameters = request.Parameters;
        if (request.CommandId > (uint)TeeDeviceDependency.Rpmb)
        {
            return TeeReturnCode.NotImplemented;
        }

        if (parameters[0].Kind != TeeParameterKind.MemoryOutput || parameters[1].Kind != TeeParameterKind.None
            || parameters[2].Kind != TeeParameterKind.None || parameters[3].Kind != TeeParameterKind.None)
        {
            return TeeReturnCode.BadParameters;
        }

        TeeDeviceDependency dependency = (TeeDeviceDependency)request.CommandId;
        int needed = _devices.Count(device => device.Dependency == dependency) * UuidSize;
        request.SetSize(0, (ulong)needed);
        if (parameters[0].Capacity < (ulong)needed)
        {
            return TeeReturnCode.ShortBuffer;
        }

        ulong offset = 0;
        Span<byte> octets = stackalloc byte[UuidSize];
        foreach (TeeDevice device in _devices)
        {
            if (device.Dependency == dependency)
            {
                _ = device.Uuid.TryWriteBytes(octets, bigEndian: true, out _);
                if (!parameters[0].TryWrite(offset, octets))
                {
                    return TeeReturnCode.BadParameters;
                }

                offset += UuidSize;
            }
        }

        return TeeReturnCode.Success;
    }
}
