namespace OpTeeMediator.Backends;

/// <summary>What must run in the guest before a <see cref="TeeDevice"/> works; the value is the command by which the
/// guest asks for such devices.</summary>
/// <remarks>Source: OP-TEE's <c>pta_device.h</c> (PTA_CMD_GET_DEVICES*).</remarks>
public enum TeeDeviceDependency
{
    /// <summary>Nothing: announced when the driver starts (PTA_CMD_GET_DEVICES).</summary>
    None = 0,

    /// <summary>The tee-supplicant: announced when it starts (PTA_CMD_GET_DEVICES_SUPP).</summary>
    Supplicant = 1,

    /// <summary>An RPMB device (PTA_CMD_GET_DEVICES_RPMB).</summary>
    Rpmb = 2,
}
