using System.Runtime.InteropServices;

namespace OpTeeMediator.Protocol;

/// <summary>struct optee_msg_arg without its parameters (<c>optee_msg.h</c>).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MessageHeader
{
    /// <summary>Where session, ret and ret_origin lie, in bytes.</summary>
    public const int SessionOffset = 8;

    /// <inheritdoc cref="SessionOffset"/>
    public const int ReturnCodeOffset = 20;

    /// <inheritdoc cref="SessionOffset"/>
    public const int ReturnOriginOffset = 24;

    /// <summary>cmd.</summary>
    public uint Command;

    /// <summary>func: the trusted application's command.</summary>
    public uint Function;

    /// <summary>session.</summary>
    public uint Session;

    /// <summary>cancel_id.</summary>
    public uint CancelId;

    /// <summary>pad.</summary>
    public uint Padding;

    /// <summary>ret.</summary>
    public uint ReturnCode;

    /// <summary>ret_origin.</summary>
    public uint ReturnOrigin;

    /// <summary>num_params.</summary>
    public uint ParameterCount;
}
