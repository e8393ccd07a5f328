using System.Text;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Testing;

/// <summary>The file system of a guest's tee-supplicant, with the checks and answers of the real one: for
/// <see cref="RpcServices.OnSupplicant"/>.</summary>
public sealed class FileSupplicant(RpcServices services, IGuestMemory memory)
{
    private const uint Success = 0;
    private const uint AccessConflict = 0xffff_0003;
    private const uint BadParameters = 0xffff_0006;
    private const uint ItemNotFound = 0xffff_0008;
    private const ulong FirstDescriptor = 5;

    private readonly Dictionary<ulong, List<byte>> _descriptors = [];
    private readonly Dictionary<ulong, Queue<string>> _directories = [];

    public SortedDictionary<string, List<byte>> Files { get; } = new(StringComparer.Ordinal);

    /// <summary>How many files and directories are open.</summary>
    public int Open => _descriptors.Count + _directories.Count;

    public GuestMessage Serve(GuestMessage message)
    {
        GuestParameter[] parameters = [.. message.Parameters];
        return message with { ReturnCode = message.Command == OpTeeRpc.FileSystem ? Perform(parameters)
            : BadParameters, Parameters = parameters };
    }

    private uint Perform(GuestParameter[] parameters) => ((uint)parameters[0].A, parameters.Length) switch
    {
        (OpTeeRpc.FileOpen, 3) => Files.TryGetValue(Name(parameters[1]), out List<byte>? file)
            ? Return(ref parameters[2], _descriptors, file) : ItemNotFound,
        (OpTeeRpc.FileCreate, 3) => Return(ref parameters[2], _descriptors, Files[Name(parameters[1])] = []),
        (OpTeeRpc.FileClose, 1) => _descriptors.Remove(parameters[0].B) ? Success : BadParameters,
        (OpTeeRpc.FileRead, 2) => Read(parameters),
        (OpTeeRpc.FileWrite, 2) => Write(parameters),
        (OpTeeRpc.FileTruncate, 1) => Truncate(parameters[0]),
        (OpTeeRpc.FileRemove, 2) => Files.Remove(Name(parameters[1])) ? Success : ItemNotFound,
        (OpTeeRpc.FileRename, 3) => Rename(parameters),
        (OpTeeRpc.DirectoryOpen, 3) => OpenDirectory(parameters),
        (OpTeeRpc.DirectoryClose, 1) => _directories.Remove(parameters[0].B) ? Success : BadParameters,
        (OpTeeRpc.DirectoryRead, 2) => ReadDirectory(parameters),
        _ => BadParameters,
    };

    private uint Return<T>(ref GuestParameter parameter, Dictionary<ulong, T> open, T opened)
    {
        ulong descriptor = FirstDescriptor;
        while (_descriptors.ContainsKey(descriptor) || _directories.ContainsKey(descriptor))
        {
            descriptor++;
        }

        open.Add(descriptor, opened);
        parameter = parameter with { A = descriptor };
        return Success;
    }

    private uint Read(GuestParameter[] parameters)
    {
        if (!_descriptors.TryGetValue(parameters[0].B, out List<byte>? file))
        {
            return BadParameters;
        }

        int start = (int)Math.Min((ulong)file.Count, parameters[0].C);
        int length = (int)Math.Min((ulong)(file.Count - start), parameters[1].B);
        Copy(parameters[1], [.. file[start..(start + length)]]);
        parameters[1] = parameters[1] with { B = (ulong)length };
        return Success;
    }

    private uint Write(GuestParameter[] parameters)
    {
        if (!_descriptors.TryGetValue(parameters[0].B, out List<byte>? file))
        {
            return BadParameters;
        }

        byte[] bytes = Bytes(parameters[1]);
        int start = (int)parameters[0].C;
        Resize(file, Math.Max(file.Count, start + bytes.Length));
        for (int index = 0; index < bytes.Length; index++)
        {
            file[start + index] = bytes[index];
        }

        return Success;
    }

    private uint Truncate(GuestParameter head)
    {
        if (!_descriptors.TryGetValue(head.B, out List<byte>? file))
        {
            return BadParameters;
        }

        Resize(file, (int)head.C);
        return Success;
    }

    private uint Rename(GuestParameter[] parameters)
    {
        string name = Name(parameters[1]);
        string newName = Name(parameters[2]);
        if (parameters[0].B == 0 && Files.ContainsKey(newName))
        {
            return AccessConflict;
        }

        if (!Files.Remove(name, out List<byte>? file))
        {
            return ItemNotFound;
        }

        Files[newName] = file;
        return Success;
    }

    private uint OpenDirectory(GuestParameter[] parameters)
    {
        string prefix = Name(parameters[1]) + "/";
        Queue<string> names = new(Files.Keys.Where(name => name.StartsWith(prefix, StringComparison.Ordinal))
            .Select(name => name[prefix.Length..]));
        return names.Count == 0 ? ItemNotFound : Return(ref parameters[2], _directories, names);
    }

    private uint ReadDirectory(GuestParameter[] parameters)
    {
        if (!_directories.TryGetValue(parameters[0].B, out Queue<string>? names))
        {
            return BadParameters;
        }

        if (!names.TryDequeue(out string? name))
        {
            return ItemNotFound;
        }

        byte[] bytes = [.. Encoding.UTF8.GetBytes(name), 0];
        Copy(parameters[1], bytes);
        parameters[1] = parameters[1] with { B = (ulong)bytes.Length };
        return Success;
    }

    // A string of C: as far as its zero byte.
    private string Name(GuestParameter reference)
    {
        byte[] bytes = Bytes(reference);
        return Encoding.UTF8.GetString(bytes, 0, Array.IndexOf(bytes, (byte)0));
    }

    private byte[] Bytes(GuestParameter reference)
    {
        byte[] bytes = new byte[reference.B];
        for (int index = 0; index < bytes.Length; index++)
        {
            if (!memory.TryRead(AddressOf(reference, index), bytes.AsSpan(index, 1)))
            {
                throw new InvalidOperationException("The shared memory is no guest memory.");
            }
        }

        return bytes;
    }

    private void Copy(GuestParameter reference, byte[] bytes)
    {
        for (int index = 0; index < bytes.Length; index++)
        {
            if (!memory.TryWrite(AddressOf(reference, index), bytes.AsSpan(index, 1)))
            {
                throw new InvalidOperationException("The shared memory is no guest memory.");
            }
        }
    }

    private ulong AddressOf(GuestParameter reference, int index)
    {
        ulong offset = reference.A + (ulong)index;
        return services.Memory[reference.C][offset / OpTeeMessage.PageSize] + (offset % OpTeeMessage.PageSize);
    }

    private static void Resize(List<byte> file, int length)
    {
        if (length < file.Count)
        {
            file.RemoveRange(length, file.Count - length);
        }
        else
        {
            file.AddRange(new byte[length - file.Count]);
        }
    }
}
