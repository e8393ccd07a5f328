using OpTeeMediator.Vmm;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>What an application asks of its guest, three bits of a command for each step, and the inputs by which
/// <see cref="HostileDriver"/> begins.</summary>
internal static class GuestScript
{
    /// <summary>How many steps a command has room for.</summary>
    public const int Steps = 5;

    /// <summary>Ends the command.</summary>
    public const uint End = 7;

    private const int StepBits = 3;

    /// <summary>Few of everything, so that inputs reach the limits.</summary>
    public static OpTeeLimits Limits { get; } =
        new() { Calls = 3, Sessions = 3, Buffers = 6, Pages = 128, PagesPerBuffer = 128 };

    /// <summary>Sessions; memory that is registered, used and unregistered; an invocation that calls the guest at each
    /// step.</summary>
    public static IEnumerable<byte[]> Seeds =>
    [
        [0, 0, 0, 0, 0, 3, 0, 0, 0],
        [4, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0],
        .. Enumerable.Range(1, 7).Select(step => (byte[])
            [0, 0, 0, 0, 0, 1, 0, 0, (byte)step, 0, 0, 0, 1, 7, 0, 0, 0, 0, 7, 0, 0, 0, 0, 3, 0, 0, 0]),
        .. Enumerable.Range(1, 7).Select(step => (byte[])
            [0, 0, 0, 0, 0, 1, 0, 0, (byte)(step << StepBits | 2), 10, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 7, 0, 11]),
    ];

    /// <summary>What a command says of one step.</summary>
    public static uint Step(uint command, int step) => command >> (step * StepBits) & 7;
}
