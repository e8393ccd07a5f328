using System.Buffers;
using System.Buffers.Binary;
using System.Diagnostics;
using System.Text;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using static OpTeeMediator.Backends.TeeParameterKind;

namespace KvmVmm.Tee;

/// <summary>
/// A trusted application that calls its guest: for the time, for memory, for the files of its tee-supplicant. It also
/// has commands that take long.
/// </summary>
internal sealed class GuestApplication : TrustedApplication, ISavableApplication
{
    /// <summary>
    /// Command: parameter 0 (value, output) gets the guest's time, a seconds since 1970 and b nanoseconds.
    /// </summary>
    public const uint GetTime = 0;

    /// <summary>
    /// Command: parameter 0 (value, inout): a bytes that the guest shares, b with whom (0 the supplicant, 1 the
    /// kernel); a becomes how many work.
    /// </summary>
    public const uint ShareMemory = 1;

    /// <summary>
    /// Command: the file named in parameter 0 (memory, input) becomes the content of parameter 1 (memory, input).
    /// </summary>
    public const uint WriteFile = 2;

    /// <summary>
    /// Command: parameter 1 (memory, output) gets the content of the file named in parameter 0 (memory, input), as much
    /// as fits.
    /// </summary>
    public const uint ReadFile = 3;

    /// <summary>Command: the file named in parameter 0 (memory, input) is removed.</summary>
    public const uint RemoveFile = 4;

    /// <summary>
    /// Command: waits for a milliseconds (parameter 0, value, input) without computing; cancelled, it is
    /// TEE_ERROR_CANCEL.
    /// </summary>
    public const uint Wait = 5;

    /// <summary>
    /// Command: computes for a milliseconds (parameter 0, value, input); cancelled, it is TEE_ERROR_CANCEL.
    /// </summary>
    public const uint Compute = 6;

    /// <summary>
    /// Command: adds 1 to the number in the file named in parameter 0 (memory, input), and waits for a milliseconds
    /// (parameter 1, value, inout) between reading and writing it; a becomes the number, b how many numbers the session
    /// has written.
    /// </summary>
    public const uint CountInFile = 7;

    /// <summary>The application's UUID.</summary>
    public static readonly Guid Uuid = new("7d1c5a2e-93b4-4f0d-a6e8-51c0b7f2e9d4");

    // The client decides how much it asks for: no more than this at once, in bytes.
    private const int MostBytes = 64 << 10;

    /// <summary>The text of --list.</summary>
    public static string Description { get; } = Uuid
        + "  calls its guest: 0 time, 1 memory, 2 to 4 files (write, read, remove); "
        + "5 waits, 6 computes, for milliseconds; 7 counts in a file";

    // Each session has an instance of its own.
    private uint _counted;

    /// <inheritdoc/>
    public void SaveInstance(IBufferWriter<byte> state)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(state.GetSpan(sizeof(uint)), _counted);
        state.Advance(sizeof(uint));
    }

    /// <inheritdoc/>
    public void RestoreInstance(ReadOnlySpan<byte> state) => _counted = BinaryPrimitives.ReadUInt32LittleEndian(state);

    /// <inheritdoc/>
    protected override TeeReturnCode InvokeCommand(ApplicationCall call) => call.CommandId switch
    {
        GetTime when call.HasParameters(ValueOutput) => TellTime(call.Guest, call[0]),
        ShareMemory when call.HasParameters(ValueInOut) => TryMemory(call.Guest, call[0]),
        WriteFile when call.HasParameters(MemoryInput, MemoryInput) =>
            Write(call.Guest.Files, NameIn(call[0]), call[1]),
        ReadFile when call.HasParameters(MemoryInput, MemoryOutput) => Read(call.Guest.Files, NameIn(call[0]), call[1]),
        RemoveFile when call.HasParameters(MemoryInput) => call.Guest.Files.Remove(NameIn(call[0])),
        Wait when call.HasParameters(ValueInput) => WaitFor(TimeSpan.FromMilliseconds(call[0].A), call),
        Compute when call.HasParameters(ValueInput) => ComputeFor(TimeSpan.FromMilliseconds(call[0].A), call),
        CountInFile when call.HasParameters(MemoryInput, ValueInOut) => Count(call, NameIn(call[0]), call[1]),
        _ => TeeReturnCode.BadParameters,
    };

    private static TeeReturnCode TellTime(ApplicationGuest guest, ApplicationParameter answer)
    {
        TeeReturnCode code = guest.GetTime(out DateTimeOffset time);
        TimeSpan sinceEpoch = time - DateTimeOffset.UnixEpoch;
        answer.A = unchecked((uint)(sinceEpoch.Ticks / TimeSpan.TicksPerSecond));
        answer.B = (uint)(sinceEpoch.Ticks % TimeSpan.TicksPerSecond * TimeSpan.NanosecondsPerTick);
        return code;
    }

    private static TeeReturnCode TryMemory(ApplicationGuest guest, ApplicationParameter numbers)
    {
        if (numbers.A is 0 or > MostBytes || numbers.B > (uint)GuestMemoryKind.Kernel)
        {
            return TeeReturnCode.BadParameters;
        }

        byte[] written = new byte[numbers.A];
        byte[] read = new byte[numbers.A];
        Random.Shared.NextBytes(written);
        using GuestBuffer? memory = guest.Allocate((GuestMemoryKind)numbers.B, written.Length);
        if (memory is null || !memory.TryWrite(0, written) || !memory.TryRead(0, read))
        {
            return TeeReturnCode.OutOfMemory;
        }

        numbers.A = (uint)written.AsSpan().CommonPrefixLength(read);
        return TeeReturnCode.Success;
    }

    private static TeeReturnCode Write(GuestFileSystem files, string name, ApplicationParameter source)
    {
        byte[] content = new byte[Math.Min(source.Size, MostBytes)];
        if (source.Size > MostBytes || !source.TryRead(0, content))
        {
            return TeeReturnCode.BadParameters;
        }

        using GuestFile? file = files.Create(name, out TeeReturnCode code);
        return file is null ? code : file.Write(0, content);
    }

    private static TeeReturnCode Read(GuestFileSystem files, string name, ApplicationParameter target)
    {
        using GuestFile? file = files.Open(name, out TeeReturnCode code);
        if (file is null)
        {
            return code;
        }

        byte[] content = new byte[Math.Min(target.Size, MostBytes)];
        code = file.Read(0, content, out int length);
        return code == TeeReturnCode.Success ? target.Write(content.AsSpan(0, length)) : code;
    }

    private TeeReturnCode Count(ApplicationCall call, string name, ApplicationParameter numbers)
    {
        GuestFileSystem files = call.Guest.Files;
        using GuestFile? file = files.Open(name, out TeeReturnCode code)
            ?? (code == TeeReturnCode.ItemNotFound ? files.Create(name, out code) : null);
        if (file is null)
        {
            return code;
        }

        byte[] content = new byte[sizeof(uint)];
        code = file.Read(0, content, out int length);
        if (code != TeeReturnCode.Success || length % content.Length != 0)
        {
            return code == TeeReturnCode.Success ? TeeReturnCode.BadFormat : code;
        }

        code = call.Wait(TimeSpan.FromMilliseconds(numbers.A));
        if (code != TeeReturnCode.Success)
        {
            return code;
        }

        uint number = unchecked(BinaryPrimitives.ReadUInt32LittleEndian(content) + 1);
        BinaryPrimitives.WriteUInt32LittleEndian(content, number);
        code = file.Write(0, content);
        if (code == TeeReturnCode.Success)
        {
            _counted = unchecked(_counted + 1);
            numbers.A = number;
            numbers.B = _counted;
        }

        return code;
    }

    // A name that is too long, or none, the file system refuses.
    private static string NameIn(ApplicationParameter parameter)
    {
        Span<byte> buffer = stackalloc byte[GuestFileSystem.LongestName + 1];
        return parameter.TryReadAll(buffer, out ReadOnlySpan<byte> name)
            ? Encoding.UTF8.GetString(name.TrimEnd((byte)0))
            : string.Empty;
    }

    private static TeeReturnCode WaitFor(TimeSpan time, ApplicationCall call)
    {
        _ = call.UnmaskCancellation();
        return call.Wait(time);
    }

    private static TeeReturnCode ComputeFor(TimeSpan time, ApplicationCall call)
    {
        _ = call.UnmaskCancellation();
        long start = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(start) < time)
        {
            if (call.IsCancellationRequested)
            {
                return TeeReturnCode.Cancel;
            }
        }

        return TeeReturnCode.Success;
    }
}
