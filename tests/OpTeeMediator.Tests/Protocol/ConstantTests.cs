using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Tests.Linux;

namespace OpTeeMediator.Tests.Protocol;

/// <summary>
/// Constants against the headers that Debian ships, and against the documented values where it ships none.
/// </summary>
[Parallelizable(ParallelScope.All)]
internal sealed class ConstantTests
{
    /// <summary>
    /// linux/tee.h (linux-libc-dev) has GlobalPlatform's parameter types, origins' neighbours and logins.
    /// </summary>
    [Test]
    public void Enums_InLinuxTeeHeader_AreEqual() => Assert.That(
        CHeaders.OfHost().Include("linux/types.h").Include("linux/tee.h")
            .Expect("TEE_IOCTL_PARAM_ATTR_TYPE_NONE", (ulong)TeeParameterKind.None)
            .Expect("TEE_IOCTL_PARAM_ATTR_TYPE_VALUE_INPUT", (ulong)TeeParameterKind.ValueInput)
            .Expect("TEE_IOCTL_PARAM_ATTR_TYPE_VALUE_OUTPUT", (ulong)TeeParameterKind.ValueOutput)
            .Expect("TEE_IOCTL_PARAM_ATTR_TYPE_VALUE_INOUT", (ulong)TeeParameterKind.ValueInOut)
            .Expect("TEE_IOCTL_PARAM_ATTR_TYPE_MEMREF_INPUT", (ulong)TeeParameterKind.MemoryInput)
            .Expect("TEE_IOCTL_PARAM_ATTR_TYPE_MEMREF_OUTPUT", (ulong)TeeParameterKind.MemoryOutput)
            .Expect("TEE_IOCTL_PARAM_ATTR_TYPE_MEMREF_INOUT", (ulong)TeeParameterKind.MemoryInOut)
            .Expect("TEE_IOCTL_LOGIN_PUBLIC", (ulong)TeeLogin.Public)
            .Expect("TEE_IOCTL_LOGIN_USER", (ulong)TeeLogin.User)
            .Expect("TEE_IOCTL_LOGIN_GROUP", (ulong)TeeLogin.Group)
            .Expect("TEE_IOCTL_LOGIN_APPLICATION", (ulong)TeeLogin.Application)
            .Expect("TEE_IOCTL_LOGIN_USER_APPLICATION", (ulong)TeeLogin.UserApplication)
            .Expect("TEE_IOCTL_LOGIN_GROUP_APPLICATION", (ulong)TeeLogin.GroupApplication)
            .Expect("TEE_IOCTL_LOGIN_REE_KERNEL_MIN", (ulong)TeeLogin.Kernel)
            .Compile(),
        Is.Empty);

    // GlobalPlatform TEE Client API 1.0, table 4-2, and TEE Internal Core API 1.3, table 3-2.
    [TestCase(TeeReturnCode.Success, 0u)]
    [TestCase(TeeReturnCode.CorruptObject, 0xf010_0001u)]
    [TestCase(TeeReturnCode.CorruptObject2, 0xf010_0002u)]
    [TestCase(TeeReturnCode.StorageNotAvailable, 0xf010_0003u)]
    [TestCase(TeeReturnCode.StorageNotAvailable2, 0xf010_0004u)]
    [TestCase(TeeReturnCode.UnsupportedVersion, 0xf010_0005u)]
    [TestCase(TeeReturnCode.CiphertextInvalid, 0xf010_0006u)]
    [TestCase(TeeReturnCode.Generic, 0xffff_0000u)]
    [TestCase(TeeReturnCode.AccessDenied, 0xffff_0001u)]
    [TestCase(TeeReturnCode.Cancel, 0xffff_0002u)]
    [TestCase(TeeReturnCode.AccessConflict, 0xffff_0003u)]
    [TestCase(TeeReturnCode.ExcessData, 0xffff_0004u)]
    [TestCase(TeeReturnCode.BadFormat, 0xffff_0005u)]
    [TestCase(TeeReturnCode.BadParameters, 0xffff_0006u)]
    [TestCase(TeeReturnCode.BadState, 0xffff_0007u)]
    [TestCase(TeeReturnCode.ItemNotFound, 0xffff_0008u)]
    [TestCase(TeeReturnCode.NotImplemented, 0xffff_0009u)]
    [TestCase(TeeReturnCode.NotSupported, 0xffff_000au)]
    [TestCase(TeeReturnCode.NoData, 0xffff_000bu)]
    [TestCase(TeeReturnCode.OutOfMemory, 0xffff_000cu)]
    [TestCase(TeeReturnCode.Busy, 0xffff_000du)]
    [TestCase(TeeReturnCode.Communication, 0xffff_000eu)]
    [TestCase(TeeReturnCode.Security, 0xffff_000fu)]
    [TestCase(TeeReturnCode.ShortBuffer, 0xffff_0010u)]
    [TestCase(TeeReturnCode.ExternalCancel, 0xffff_0011u)]
    [TestCase(TeeReturnCode.Timeout, 0xffff_3001u)]
    [TestCase(TeeReturnCode.Overflow, 0xffff_300fu)]
    [TestCase(TeeReturnCode.TargetDead, 0xffff_3024u)]
    [TestCase(TeeReturnCode.StorageNoSpace, 0xffff_3041u)]
    [TestCase(TeeReturnCode.MacInvalid, 0xffff_3071u)]
    [TestCase(TeeReturnCode.SignatureInvalid, 0xffff_3072u)]
    [TestCase(TeeReturnCode.TimeNotSet, 0xffff_5000u)]
    [TestCase(TeeReturnCode.TimeNeedsReset, 0xffff_5001u)]
    public void ReturnCodes_Documented_AreEqual(TeeReturnCode code, uint value) =>
        Assert.That((uint)code, Is.EqualTo(value));

    // GlobalPlatform TEE Client API 1.0, table 4-3.
    [TestCase(TeeOrigin.Api, 1)]
    [TestCase(TeeOrigin.Communication, 2)]
    [TestCase(TeeOrigin.Tee, 3)]
    [TestCase(TeeOrigin.TrustedApplication, 4)]
    public void Origins_Documented_AreEqual(TeeOrigin origin, int value) => Assert.That((int)origin, Is.EqualTo(value));

    // GlobalPlatform TEE Internal Core API 1.3, table 4-2; not of the Client API, whose logins are compiled above.
    [Test]
    public void TrustedApplicationLogin_Documented_IsEqual() =>
        Assert.That((uint)TeeLogin.TrustedApplication, Is.EqualTo(0xf000_0000u));

    [Test]
    public void Enums_EveryNamedValue_IsInATableHere()
    {
        Assert.That(Enum.GetValues<TeeReturnCode>(), Has.Length.EqualTo(33));
        Assert.That(Enum.GetValues<TeeOrigin>(), Has.Length.EqualTo(4));
        Assert.That(Enum.GetValues<TeeLogin>(), Has.Length.EqualTo(8));
        Assert.That(Enum.GetValues<TeeParameterKind>(), Has.Length.EqualTo(7));
    }

    // OP-TEE 4.10, core/arch/arm/include/sm/optee_smc.h; Debian ships no package of it.
    [TestCase(OpTeeSmc.CallsCount, 0xbf00_ff00u)]
    [TestCase(OpTeeSmc.CallsUid, 0xbf00_ff01u)]
    [TestCase(OpTeeSmc.CallsRevision, 0xbf00_ff03u)]
    [TestCase(OpTeeSmc.GetOsUuid, 0xb200_0000u)]
    [TestCase(OpTeeSmc.GetOsRevision, 0xb200_0001u)]
    [TestCase(OpTeeSmc.ReturnFromRpc, 0x3200_0003u)]
    [TestCase(OpTeeSmc.CallWithArgument, 0x3200_0004u)]
    [TestCase(OpTeeSmc.GetShmConfig, 0xb200_0007u)]
    [TestCase(OpTeeSmc.ExchangeCapabilities, 0xb200_0009u)]
    [TestCase(OpTeeSmc.DisableShmCache, 0xb200_000au)]
    [TestCase(OpTeeSmc.EnableShmCache, 0xb200_000bu)]
    [TestCase(OpTeeSmc.GetThreadCount, 0xb200_000fu)]
    [TestCase(OpTeeSmc.CallWithRpcArgument, 0x3200_0012u)]
    [TestCase(OpTeeSmc.CallWithRegisteredArgument, 0x3200_0013u)]
    [TestCase(OpTeeSmc.VmCreated, 0xb200_000du)]
    [TestCase(OpTeeSmc.VmDestroyed, 0xb200_000eu)]
    [TestCase(OpTeeSmc.EnableAsyncNotification, 0xb200_0010u)]
    [TestCase(OpTeeSmc.GetAsyncNotificationValue, 0xb200_0011u)]
    [TestCase(OpTeeSmc.GetProtectedMemoryConfig, 0xb200_0014u)]
    [TestCase(OpTeeSmc.ReturnOk, 0u)]
    [TestCase(OpTeeSmc.ReturnThreadLimit, 1u)]
    [TestCase(OpTeeSmc.ReturnBusy, 2u)]
    [TestCase(OpTeeSmc.ReturnResume, 3u)]
    [TestCase(OpTeeSmc.ReturnBadAddress, 4u)]
    [TestCase(OpTeeSmc.ReturnBadCommand, 5u)]
    [TestCase(OpTeeSmc.ReturnNoMemory, 6u)]
    [TestCase(OpTeeSmc.ReturnNotAvailable, 7u)]
    [TestCase(OpTeeSmc.ReturnUnknownFunction, 0xffff_ffffu)]
    [TestCase(OpTeeSmc.ReturnRpcForeignInterrupt, 0xffff_0004u)]
    [TestCase((uint)OpTeeCapabilities.ReservedSharedMemory, 0x01u)]
    [TestCase((uint)OpTeeCapabilities.UnregisteredSharedMemory, 0x02u)]
    [TestCase((uint)OpTeeCapabilities.DynamicSharedMemory, 0x04u)]
    [TestCase((uint)OpTeeCapabilities.Virtualization, 0x08u)]
    [TestCase((uint)OpTeeCapabilities.NullMemoryReference, 0x10u)]
    [TestCase((uint)OpTeeCapabilities.AsynchronousNotifications, 0x20u)]
    [TestCase((uint)OpTeeCapabilities.RpcArgument, 0x40u)]
    [TestCase((uint)OpTeeCapabilities.RpmbProbe, 0x80u)]
    [TestCase((uint)OpTeeCapabilities.ProtectedMemory, 0x100u)]
    [TestCase((uint)OpTeeCapabilities.DynamicProtectedMemory, 0x200u)]
    public void SmcInterface_Documented_IsEqual(uint constant, uint value) => Assert.That(constant, Is.EqualTo(value));

    // OP-TEE 4.10, core/include/optee_rpc_cmd.h.
    [TestCase(OpTeeRpc.LoadApplication, 0u)]
    [TestCase(OpTeeRpc.Rpmb, 1u)]
    [TestCase(OpTeeRpc.FileSystem, 2u)]
    [TestCase(OpTeeRpc.GetTime, 3u)]
    [TestCase(OpTeeRpc.Notification, 4u)]
    [TestCase(OpTeeRpc.Suspend, 5u)]
    [TestCase(OpTeeRpc.AllocateSharedMemory, 6u)]
    [TestCase(OpTeeRpc.FreeSharedMemory, 7u)]
    [TestCase(OpTeeRpc.Profile, 9u)]
    [TestCase(OpTeeRpc.Socket, 10u)]
    [TestCase(OpTeeRpc.FunctionTrace, 11u)]
    [TestCase(OpTeeRpc.Plugin, 12u)]
    [TestCase(OpTeeRpc.I2cTransfer, 21u)]
    [TestCase(OpTeeRpc.RpmbProbeReset, 22u)]
    [TestCase(OpTeeRpc.RpmbProbeNext, 23u)]
    [TestCase(OpTeeRpc.RpmbFrames, 24u)]
    public void RpcInterface_Documented_IsEqual(uint constant, uint value) => Assert.That(constant, Is.EqualTo(value));

    // OP-TEE 4.10, core/include/optee_msg.h.
    [TestCase(OpTeeMessage.TypeNone, 0u)]
    [TestCase(OpTeeMessage.TypeValueInput, 1u)]
    [TestCase(OpTeeMessage.TypeValueOutput, 2u)]
    [TestCase(OpTeeMessage.TypeValueInOut, 3u)]
    [TestCase(OpTeeMessage.TypeRegisteredInput, 5u)]
    [TestCase(OpTeeMessage.TypeRegisteredOutput, 6u)]
    [TestCase(OpTeeMessage.TypeRegisteredInOut, 7u)]
    [TestCase(OpTeeMessage.TypeTemporaryInput, 9u)]
    [TestCase(OpTeeMessage.TypeTemporaryOutput, 10u)]
    [TestCase(OpTeeMessage.TypeTemporaryInOut, 11u)]
    [TestCase(OpTeeMessage.TypeMask, 0xffu)]
    [TestCase(OpTeeMessage.AttributeMeta, 0x100u)]
    [TestCase(OpTeeMessage.AttributeNonContiguous, 0x200u)]
    [TestCase((uint)OpTeeMessage.PageSize, 4096u)]
    [TestCase((uint)OpTeeMessage.AddressesPerListPage, 511u)]
    [TestCase((uint)OpTeeMessage.MaximumParameters, 127u)]
    [TestCase(OpTeeMessage.CommandOpenSession, 0u)]
    [TestCase(OpTeeMessage.CommandInvoke, 1u)]
    [TestCase(OpTeeMessage.CommandCloseSession, 2u)]
    [TestCase(OpTeeMessage.CommandCancel, 3u)]
    [TestCase(OpTeeMessage.CommandRegisterSharedMemory, 4u)]
    [TestCase(OpTeeMessage.CommandUnregisterSharedMemory, 5u)]
    [TestCase(OpTeeMessage.CommandDoBottomHalf, 6u)]
    [TestCase(OpTeeMessage.CommandStopAsyncNotification, 7u)]
    [TestCase(OpTeeMessage.CommandLendProtectedMemory, 8u)]
    [TestCase(OpTeeMessage.CommandReclaimProtectedMemory, 9u)]
    [TestCase(OpTeeMessage.CommandGetProtectedMemoryConfig, 10u)]
    [TestCase(OpTeeMessage.CommandAssignProtectedMemory, 11u)]
    public void MessageInterface_Documented_IsEqual(uint constant, uint value) =>
        Assert.That(constant, Is.EqualTo(value));

    [TestCase(0, 32)]
    [TestCase(1, 64)]
    [TestCase(4, 160)]
    [TestCase(127, 4096)]
    public void Size_OfAMessage_IsHeaderAndParameters(int parameters, int size) =>
        Assert.That(OpTeeMessage.Size(parameters), Is.EqualTo(size));

    [Test]
    public void DeviceTreeNode_Binding_IsEqual() => Assert.That(
        (
            OpTeeDeviceTreeNode.ParentName,
            OpTeeDeviceTreeNode.Name,
            OpTeeDeviceTreeNode.Compatible,
            OpTeeDeviceTreeNode.Method),
        Is.EqualTo(("firmware", "optee", "linaro,optee-tz", "smc")));
}
