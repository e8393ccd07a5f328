using Microsoft.Extensions.Logging;
using OpTeeMediator.Memory;

namespace KvmVmm;

/// <summary>What the VMM logs. Events 1–99.</summary>
internal static partial class Log
{
    [LoggerMessage(
        1, LogLevel.Information, "The guest starts: kernel at {kernel}, initramfs at {initrd}, device tree at {tree}.")]
    public static partial void GuestStarts(this ILogger log, GuestAddress kernel, GuestRange initrd, GuestAddress tree);

    [LoggerMessage(2, LogLevel.Information, "The guest has ended after {seconds:f1} s: {end}. {report}")]
    public static partial void GuestEnded(this ILogger log, double seconds, string end, string report);

    [LoggerMessage(3, LogLevel.Debug, "The guest reaches for {address}, where no device is (write: {isWrite}).")]
    public static partial void NoDevice(this ILogger log, GuestAddress address, bool isWrite);

    [LoggerMessage(
        4,
        LogLevel.Information,
        "The VM was saved: {bytes} bytes, {teeBytes} of them its TEE's; its TEE finished its work in {drain:f2} s, and "
        + "then the VM was paused for {seconds:f2} s, {teeSeconds:f3} s of them for its TEE.")]
    public static partial void Saved(
        this ILogger log, long bytes, long teeBytes, double drain, double seconds, double teeSeconds);

    [LoggerMessage(5, LogLevel.Error, "The VM cannot be saved, and goes on: {reason}")]
    public static partial void NotSaved(this ILogger log, string reason);

    [LoggerMessage(
        6, LogLevel.Information, "The VM was restored in {seconds:f2} s, {teeSeconds:f3} s of them for its TEE.")]
    public static partial void Restored(this ILogger log, double seconds, double teeSeconds);

    [LoggerMessage(
        7,
        LogLevel.Information,
        "The VM was moved: {rounds} rounds, {bytes} bytes, {teeBytes} of them its TEE's; its TEE finished its work in "
        + "{drain:f2} s, and then the VM was paused for {seconds:f2} s until it was given up, {teeSeconds:f3} s of "
        + "them for its TEE on both sides.")]
    public static partial void Moved(
        this ILogger log, int rounds, long bytes, long teeBytes, double drain, double seconds, double teeSeconds);

    [LoggerMessage(8, LogLevel.Error, "The VM cannot be moved, and stays here: {reason}")]
    public static partial void NotMoved(this ILogger log, string reason);

    [LoggerMessage(
        9,
        LogLevel.Information,
        "The VM has arrived, and goes on {milliseconds:f1} ms after the source has given it up; its TEE was restored "
        + "in {teeSeconds:f3} s.")]
    public static partial void Arrived(this ILogger log, double milliseconds, double teeSeconds);

    [LoggerMessage(10, LogLevel.Information, "All {pages} pages are those of the source.")]
    public static partial void PagesEqual(this ILogger log, int pages);

    [LoggerMessage(11, LogLevel.Information, "The VM is to halt for a save or move: its TEE finishes its work.")]
    public static partial void Halting(this ILogger log);

    [LoggerMessage(
        12,
        LogLevel.Warning,
        "The VM's TEE has not finished its work within {seconds} s (--save-wait): what is left of it cannot move.")]
    public static partial void NotDrained(this ILogger log, int seconds);
}
