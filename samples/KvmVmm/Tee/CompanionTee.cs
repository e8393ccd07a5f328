using System.Globalization;
using KvmVmm.CommandLine;
using KvmVmm.Machine;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Kvm;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Vmm;

namespace KvmVmm.Tee;

/// <summary>A real OP-TEE of the guest's own, in a VM beside it.</summary>
internal sealed class CompanionTee : IGuestTee
{
    private readonly OpTeeCompanion _optee;

    /// <summary>Gives the guest its TEE.</summary>
    /// <param name="options">Name the image.</param>
    /// <param name="kvm">The host's KVM.</param>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="notifications">The interrupt by which it notifies the guest.</param>
    /// <param name="loggers">Where to log.</param>
    public CompanionTee(
        VmmOptions options,
        KvmSystem kvm,
        MemfdGuestMemory memory,
        IInterruptLine? notifications,
        ILoggerFactory loggers)
    {
        _optee = OpTeeCompanion.Start(kvm, memory, new OpTeeCompanionOptions
        {
            Image = Load(options.TeeImage),
            NotificationInterrupt = notifications,
            LogsConsole = options.LogsTee,
            LoggerFactory = loggers,
        });
    }

    /// <inheritdoc/>
    public ISmcHandler Handler => _optee;

    /// <inheritdoc/>
    public OpTeeDeviceTreeNode DeviceTreeNode => _optee.DeviceTreeNode;

    /// <inheritdoc/>
    public IReadOnlyList<GuestRange> ReservedMemory => _optee.ReservedMemory;

    /// <inheritdoc/>
    public string Report
    {
        get
        {
            OpTeeCompanionStatus status = _optee.Status;
            OpTeeCompanionStatistics done = status.Statistics;
            long calls = long.Max(1, done.FastCalls + done.YieldingCalls);
            return string.Create(
                CultureInfo.InvariantCulture,
                $"Its OP-TEE started in {status.LastStart.TotalMilliseconds:f0} ms, "
                + $"answered {done.FastCalls} fast and {done.YieldingCalls} yielding calls, "
                + $"was preempted {done.Preemptions} times, served {done.NativeInterrupts} interrupts of its own, "
                + $"made {done.DeviceAccesses} accesses to devices; it ran {done.TimeInTee.TotalSeconds:f2} s, "
                + $"{done.TimeInTee.TotalMicroseconds / calls:f0} µs and "
                + $"{(double)done.RegisterAccesses / calls:f1} register accesses a call.");
        }
    }

    /// <inheritdoc/>
    public Task ResetAsync() => _optee.ResetAsync();

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => _optee.DisposeAsync();

    private static OpTeeImage Load(string? path)
    {
        try
        {
            return OpTeeImage.Load(path ?? OpTeeImage.DebianPath);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or InvalidDataException)
        {
            throw new BootException(
                $"--tee companion: {failure.Message} "
                + $"Debian's package optee-os has an image at {OpTeeImage.DebianPath}.");
        }
    }
}
