using System.Globalization;
using KvmVmm.CommandLine;
using KvmVmm.Machine;
using KvmVmm.Migration;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Vmm;

namespace KvmVmm.Tee;

/// <summary>A real OP-TEE of the guest's own, in a VM beside it: its options and its report.</summary>
internal static class CompanionTee
{
    /// <summary>How it behaves.</summary>
    /// <param name="options">Name the image.</param>
    /// <param name="notifications">The interrupt by which it notifies the guest.</param>
    /// <param name="loggers">Where to log.</param>
    /// <exception cref="BootException">The image cannot be read.</exception>
    public static OpTeeCompanionOptions Options(
        VmmOptions options, IInterruptLine? notifications, ILoggerFactory loggers) => new()
        {
            Image = Load(options.Tee.Place),
            NotificationInterrupt = notifications,
            LogsConsole = options.LogsTee,
            LoggerFactory = loggers,
        };

    /// <summary>Its state is a part of the VM's, which is encrypted and has the identity.</summary>
    public static VmStateOptions StateOptions { get; } = new();

    /// <summary>Starts one, or goes on with one that was saved.</summary>
    /// <param name="kvm">The host's KVM.</param>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="options">How it behaves.</param>
    /// <param name="state">Its state; <see langword="null"/> for a new one.</param>
    /// <returns>The companion; paused if it was saved.</returns>
    public static OpTeeCompanion Start(
        KvmSystem kvm, TrackedGuestMemory memory, OpTeeCompanionOptions options, Stream? state) => state is null
            ? OpTeeCompanion.Start(kvm, memory, options)
            : OpTeeCompanion.RestoreAsync(kvm, memory, options, state, StateOptions).GetAwaiter().GetResult();

    /// <summary>Prepares for one that comes from another process.</summary>
    /// <param name="kvm">The host's KVM.</param>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="options">How it behaves.</param>
    public static OpTeeCompanionArrival Expect(
        KvmSystem kvm, TrackedGuestMemory memory, OpTeeCompanionOptions options) =>
        new(kvm, memory, options, StateOptions);

    /// <summary>Goes on with one that was moved while it ran.</summary>
    /// <param name="arrival">Has received its memory.</param>
    /// <param name="state">The rest of its state.</param>
    /// <returns>The companion, paused.</returns>
    public static OpTeeCompanion Continue(OpTeeCompanionArrival arrival, Stream state) =>
        OpTeeCompanion.RestoreAsync(state, StateOptions, arrival).GetAwaiter().GetResult();

    /// <summary>The digest of the memory of one that is paused.</summary>
    /// <param name="companion">The companion.</param>
    public static byte[] Digest(OpTeeCompanion companion)
    {
        using MemoryStream state = new();
        companion.SaveAsync(state, StateOptions).GetAwaiter().GetResult();
        state.Position = 0;
        return CompanionDigest.Compute(state, StateOptions);
    }

    /// <summary>What it has done, for a message at the end.</summary>
    public static string Report(OpTeeCompanionStatus status)
    {
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
