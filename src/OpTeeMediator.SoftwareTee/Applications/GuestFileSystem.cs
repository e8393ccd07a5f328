using System.Buffers;
using System.Text.Unicode;
using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.SoftwareTee.Operations;

namespace OpTeeMediator.SoftwareTee.Applications;

/// <summary>The files that the guest's tee-supplicant keeps for its TEE, by default in <c>/var/lib/tee</c>.</summary>
/// <remarks>
/// <para>No secure storage: the guest reads, changes, rolls back and forges what is there. Encrypt and authenticate
/// what matters.</para>
/// <para>Names are paths relative to the supplicant's directory; it makes directories that are missing. A name that is
/// empty, longer than <see cref="LongestName"/> bytes of UTF-8, or that contains a zero character, half a surrogate
/// pair or a part <c>..</c> is TEE_ERROR_BAD_PARAMETERS.</para>
/// <para>The forms, the threads and the errors of the calls are those of <see cref="ApplicationGuest"/>. The first call
/// of an operation allocates memory that the supplicant shares; as long as no supplicant runs, it waits for one. Not
/// thread-safe. Source: OP-TEE's <c>optee_rpc_cmd.h</c>, OPTEE_RPC_CMD_FS.</para>
/// </remarks>
public sealed class GuestFileSystem
{
    /// <summary>The longest name, in bytes of UTF-8.</summary>
    public const int LongestName = NamePlace - 1;

    /// <summary>How much one call to the supplicant carries at the most, in bytes.</summary>
    internal const int PieceSize = 16 << 10;

    // Room for a name and its zero byte.
    private const int NamePlace = 1024;

    private readonly List<OpenHandle> _open = [];
    private GuestBuffer? _buffer;

    internal GuestFileSystem(IGuestOperation operation) => Operation = operation;

    /// <summary>The operation that the files belong to.</summary>
    internal IGuestOperation Operation { get; }

    /// <summary>Whether the application has left something open.</summary>
    internal bool HasOpen => _open.Count != 0;

    /// <summary>Opens a file that exists, to read and write. Allocates one small object.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="code">The supplicant's answer: TEE_ERROR_ITEM_NOT_FOUND if there is none.</param>
    /// <returns>The file, to be disposed of; <see langword="null"/> without success.</returns>
    public GuestFile? Open(string name, out TeeReturnCode code) =>
        TryOpen(OpTeeRpc.FileOpen, OpTeeRpc.FileClose, name, out OpenHandle handle, out code)
            ? new GuestFile(this, handle)
            : null;

    /// <summary>Opens a file that exists, as <see cref="Open"/>.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>The supplicant's answer and, if it is success, the file, to be disposed of.</returns>
    public ValueTask<GuestAnswer<GuestFile>> OpenAsync(string name) => Operation.RunAsync(
        (Files: this, Name: name),
        static state => Answer(state.Files.Open(state.Name, out TeeReturnCode code), code));

    /// <summary>Makes an empty file, or empties the one that exists. Allocates one small object.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="code">The supplicant's answer.</param>
    /// <returns>The file, to be disposed of; <see langword="null"/> without success.</returns>
    public GuestFile? Create(string name, out TeeReturnCode code) =>
        TryOpen(OpTeeRpc.FileCreate, OpTeeRpc.FileClose, name, out OpenHandle handle, out code)
            ? new GuestFile(this, handle)
            : null;

    /// <summary>Makes or empties a file, as <see cref="Create"/>.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>The supplicant's answer and, if it is success, the file, to be disposed of.</returns>
    public ValueTask<GuestAnswer<GuestFile>> CreateAsync(string name) => Operation.RunAsync(
        (Files: this, Name: name),
        static state => Answer(state.Files.Create(state.Name, out TeeReturnCode code), code));

    /// <summary>Opens a directory, to list it. Allocates one small object.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="code">The supplicant's answer: TEE_ERROR_ITEM_NOT_FOUND if there is none, or nothing in it.</param>
    /// <returns>The directory, to be disposed of; <see langword="null"/> without success.</returns>
    public GuestDirectory? OpenDirectory(string name, out TeeReturnCode code) =>
        TryOpen(OpTeeRpc.DirectoryOpen, OpTeeRpc.DirectoryClose, name, out OpenHandle handle, out code)
            ? new GuestDirectory(this, handle)
            : null;

    /// <summary>Opens a directory, as <see cref="OpenDirectory"/>.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>The supplicant's answer and, if it is success, the directory, to be disposed of.</returns>
    public ValueTask<GuestAnswer<GuestDirectory>> OpenDirectoryAsync(string name) => Operation.RunAsync(
        (Files: this, Name: name),
        static state => Answer(state.Files.OpenDirectory(state.Name, out TeeReturnCode code), code));

    /// <summary>Removes a file.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>The supplicant's answer: TEE_ERROR_ITEM_NOT_FOUND if there is none.</returns>
    public TeeReturnCode Remove(string name)
    {
        TeeReturnCode code = WriteName(name, 0, out TeeParameter path);
        return code == TeeReturnCode.Success
            ? Operation.Call(OpTeeRpc.FileSystem, [Head(OpTeeRpc.FileRemove, 0, 0), path])
            : code;
    }

    /// <inheritdoc cref="Remove"/>
    public ValueTask<TeeReturnCode> RemoveAsync(string name) =>
        Operation.RunAsync((Files: this, Name: name), static state => state.Files.Remove(state.Name));

    /// <summary>Gives a file another name.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="newName">The new name.</param>
    /// <param name="replaces">Whether to replace a file of that name; if not: TEE_ERROR_ACCESS_CONFLICT.</param>
    /// <returns>The supplicant's answer.</returns>
    public TeeReturnCode Rename(string name, string newName, bool replaces)
    {
        TeeReturnCode code = WriteName(name, 0, out TeeParameter path);
        TeeParameter newPath = default;
        code = code == TeeReturnCode.Success ? WriteName(newName, NamePlace, out newPath) : code;
        return code == TeeReturnCode.Success
            ? Operation.Call(OpTeeRpc.FileSystem, [Head(OpTeeRpc.FileRename, replaces ? 1u : 0u, 0), path, newPath])
            : code;
    }

    /// <inheritdoc cref="Rename"/>
    public ValueTask<TeeReturnCode> RenameAsync(string name, string newName, bool replaces) => Operation.RunAsync(
        (Files: this, Name: name, NewName: newName, Replaces: replaces),
        static state => state.Files.Rename(state.Name, state.NewName, state.Replaces));

    /// <summary>Makes the supplicant fill a piece of memory: from a file, or with a name.</summary>
    /// <param name="command">FS_READ or FS_READDIR.</param>
    /// <param name="handle">Of what.</param>
    /// <param name="offset">Where in the file.</param>
    /// <param name="destination">Receives a copy; not longer than <see cref="PieceSize"/>.</param>
    /// <param name="length">How much the supplicant says there is; never more than fits.</param>
    /// <returns>The supplicant's answer.</returns>
    internal TeeReturnCode Read(uint command, OpenHandle handle, ulong offset, Span<byte> destination, out int length)
    {
        length = 0;
        if (Buffer is not { } buffer)
        {
            return TeeReturnCode.OutOfMemory;
        }

        Span<TeeParameter> parameters =
        [
            Head(command, handle.Number, offset),
            buffer.AsParameter(TeeParameterKind.MemoryOutput, 0, destination.Length),
        ];
        TeeReturnCode code = Operation.Call(OpTeeRpc.FileSystem, parameters);
        if (code != TeeReturnCode.Success)
        {
            return code;
        }

        length = (int)parameters[1].Size;
        return buffer.TryRead(0, destination[..length]) ? TeeReturnCode.Success : TeeReturnCode.Communication;
    }

    /// <summary>Makes the supplicant write a piece of a file.</summary>
    internal TeeReturnCode Write(OpenHandle handle, ulong offset, ReadOnlySpan<byte> source) =>
        Buffer is { } buffer && buffer.TryWrite(0, source)
            ? Operation.Call(
                OpTeeRpc.FileSystem,
                [
                    Head(OpTeeRpc.FileWrite, handle.Number, offset),
                    buffer.AsParameter(TeeParameterKind.MemoryInput, 0, source.Length),
                ])
            : TeeReturnCode.OutOfMemory;

    /// <summary>Sets the length of a file.</summary>
    internal TeeReturnCode Truncate(OpenHandle handle, ulong length) =>
        Operation.Call(OpTeeRpc.FileSystem, [Head(OpTeeRpc.FileTruncate, handle.Number, length)]);

    /// <summary>Closes a file or directory.</summary>
    internal void Close(OpenHandle handle)
    {
        if (_open.Remove(handle))
        {
            _ = Operation.Call(OpTeeRpc.FileSystem, [Head(handle.CloseCommand, handle.Number, 0)]);
        }
    }

    /// <summary>Closes what the application has left open. Nothing is open afterwards, even if this throws.</summary>
    internal void CloseAll()
    {
        OpenHandle[] left = [.. _open];
        _open.Clear();
        foreach (OpenHandle handle in left)
        {
            _ = Operation.Call(OpTeeRpc.FileSystem, [Head(handle.CloseCommand, handle.Number, 0)]);
        }
    }

    /// <summary>What the supplicant shares in this operation: for names and data.</summary>
    private GuestBuffer? Buffer
    {
        get
        {
            if (_buffer is not { IsAlive: true })
            {
                TeeSharedMemory? memory = Operation.Guest.Allocate(GuestMemoryKind.Supplicant, PieceSize);
                _buffer = memory is null ? null : new GuestBuffer(Operation, memory);
            }

            return _buffer;
        }
    }

    private bool TryOpen(uint command, uint closeCommand, string name, out OpenHandle handle, out TeeReturnCode code)
    {
        handle = default;
        code = WriteName(name, 0, out TeeParameter path);
        if (code == TeeReturnCode.Success)
        {
            Span<TeeParameter> parameters =
                [Head(command, 0, 0), path, TeeParameter.Value(TeeParameterKind.ValueOutput, 0, 0)];
            code = Operation.Call(OpTeeRpc.FileSystem, parameters);
            handle = new OpenHandle(closeCommand, parameters[2].A);
        }

        if (code != TeeReturnCode.Success)
        {
            return false;
        }

        _open.Add(handle);
        return true;
    }

    private TeeReturnCode WriteName(string name, int offset, out TeeParameter parameter)
    {
        ArgumentNullException.ThrowIfNull(name);
        parameter = default;
        Span<byte> bytes = stackalloc byte[NamePlace];
        int length = 0;
        if (!IsProper(name)
            || Utf8.FromUtf16(name, bytes[..LongestName], out _, out length, replaceInvalidSequences: false)
                != OperationStatus.Done)
        {
            return TeeReturnCode.BadParameters;
        }

        bytes[length] = 0;
        if (Buffer is not { } buffer || !buffer.TryWrite(offset, bytes[..(length + 1)]))
        {
            return TeeReturnCode.OutOfMemory;
        }

        parameter = buffer.AsParameter(TeeParameterKind.MemoryInput, offset, length + 1);
        return TeeReturnCode.Success;
    }

    // An application may make names of what its client says: they stay in the supplicant's directory.
    private static bool IsProper(ReadOnlySpan<char> name)
    {
        if (name.IsEmpty || name.Contains('\0'))
        {
            return false;
        }

        foreach (Range part in name.Split('/'))
        {
            if (name[part] is "..")
            {
                return false;
            }
        }

        return true;
    }

    private static TeeParameter Head(uint command, ulong number, ulong offset) =>
        TeeParameter.Value(TeeParameterKind.ValueInput, command, number, offset);

    private static GuestAnswer<T> Answer<T>(T? opened, TeeReturnCode code)
        where T : class => new(code, opened);

    /// <summary>A file or directory that the supplicant has open.</summary>
    /// <param name="CloseCommand">How to close it.</param>
    /// <param name="Number">The supplicant's number for it: any, and perhaps of several things.</param>
    internal readonly record struct OpenHandle(uint CloseCommand, ulong Number);
}
