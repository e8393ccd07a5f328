using System.Buffers.Binary;
using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.MachineTests;

/// <summary>An application whose commands ask the guest for something and return what the guest answered in the second
/// number of parameter 0.</summary>
internal sealed class RpcApplication : TrustedApplication
{
    /// <summary>Copies parameter 1 through memory that the kernel allocates, and returns it with
    /// all bits inverted.</summary>
    public const uint UseKernelMemory = 0;

    /// <summary>The same with the supplicant's memory.</summary>
    public const uint UseSupplicantMemory = 1;

    /// <summary>Sends the supplicant a request for its RPMB, in shared memory; the first number of parameter 0 is the
    /// request's command.</summary>
    public const uint RequestRpmb = 2;

    public const uint GetTime = 3;

    /// <summary>Waits for as many milliseconds as parameter 0 says, without a request to the guest.</summary>
    public const uint Wait = 4;

    // struct rpmb_req and struct rpmb_dev_info of OP-TEE's tee_rpmb_fs.c.
    private const int RpmbRequestSize = 6;
    private const int RpmbInformationSize = 19;

    public static TrustedApplicationManifest Manifest { get; } = new(new Guid("5c1a4d0e-3b70-4f0e-9d0c-0b7a33c0a1f5"));

    protected override TeeReturnCode InvokeCommand(ApplicationCall call)
    {
        if (call[0].Kind != TeeParameterKind.ValueInOut)
        {
            return TeeReturnCode.BadParameters;
        }

        switch (call.CommandId)
        {
            case UseKernelMemory:
                return CopyThrough(call, GuestMemoryKind.Kernel);
            case UseSupplicantMemory:
                return CopyThrough(call, GuestMemoryKind.Supplicant);
            case RequestRpmb:
                call[0].B = (uint)SendRpmbRequest(call.Guest, (ushort)call[0].A);
                return TeeReturnCode.Success;
            case GetTime:
                call[0].B = (uint)call.Guest.GetTime(out _);
                return TeeReturnCode.Success;
            case Wait:
                return call.Wait(TimeSpan.FromMilliseconds(call[0].A));
            default:
                return TeeReturnCode.NotImplemented;
        }
    }

    private static TeeReturnCode CopyThrough(ApplicationCall call, GuestMemoryKind kind)
    {
        if (!call.HasParameters(TeeParameterKind.ValueInOut, TeeParameterKind.MemoryInOut))
        {
            return TeeReturnCode.BadParameters;
        }

        byte[] bytes = new byte[call[1].Size];
        using GuestBuffer? memory = call.Guest.Allocate(kind, bytes.Length);
        if (memory is null)
        {
            return TeeReturnCode.OutOfMemory;
        }

        if (!call[1].TryRead(0, bytes) || !memory.TryWrite(0, bytes))
        {
            return TeeReturnCode.AccessDenied;
        }

        bytes.AsSpan().Clear();
        if (!memory.TryRead(0, bytes))
        {
            return TeeReturnCode.AccessDenied;
        }

        for (int index = 0; index < bytes.Length; index++)
        {
            bytes[index] ^= 0xff;
        }

        return call[1].Write(bytes);
    }

    private static TeeReturnCode SendRpmbRequest(ApplicationGuest guest, ushort command)
    {
        using GuestBuffer? request = guest.Allocate(GuestMemoryKind.Supplicant, RpmbRequestSize);
        using GuestBuffer? information = guest.Allocate(GuestMemoryKind.Supplicant, RpmbInformationSize);
        if (request is null || information is null)
        {
            return TeeReturnCode.OutOfMemory;
        }

        Span<byte> bytes = stackalloc byte[RpmbRequestSize];
        bytes.Clear();
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, command);
        return request.TryWrite(0, bytes)
            ? guest.Call(
                OpTeeRpc.Rpmb,
                [request.AsParameter(TeeParameterKind.MemoryInput, 0, RpmbRequestSize),
                    information.AsParameter(TeeParameterKind.MemoryOutput, 0, RpmbInformationSize)])
            : TeeReturnCode.AccessDenied;
    }
}
