using System.Runtime.InteropServices;

namespace OpTeeMediator.Protocol;

/// <summary>struct optee_msg_arg without its parameters (<c>optee_msg.h</c>).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MessageHeader
{
    // Where session, ret and ret_origin lie, in bytes.
    public const int SessionOffset = 8;
    public const int ReturnCodeOffset = 20;
    public const int ReturnOriginOffset = 24;

    // cmd, func (the trusted application's command), session, cancel_id, pad, ret, ret_origin, num_params.
    public uint Command;
    public uint Function;
    public uint Session;
    public uint CancelId;
    public uint Padding;
    public uint ReturnCode;
    public uint ReturnOrigin;
    public uint ParameterCount;
}
