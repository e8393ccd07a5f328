using System.Buffers;
using System.Buffers.Binary;
using OpTeeMediator.Backends;
using OpTeeMediator.Remote;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.RemoteTests;

/// <summary>A trusted application that counts, for the instance and for each session, and can be saved.</summary>
internal sealed class SavedApplication : TrustedApplication, ISavableApplication
{
    /// <summary>Adds value[0].a to both counts; value[1] has the instance's and the session's.</summary>
    public const uint Add = 1;

    /// <summary>Has the instance keep value[0].a bytes.</summary>
    public const uint Grow = 2;

    /// <summary>As <see cref="Add"/>, after the guest has said its time.</summary>
    public const uint AddAfterTime = 3;

    /// <summary>Says of which process it is, in value[1].</summary>
    public const uint Describe = 4;

    /// <summary>Adds up the bytes of memory[2], in value[1].</summary>
    public const uint Sum = 5;

    // A file: while it is there, saving (".save") or restoring (".restore") does not go on, and ".reached" says so.
    private const string Gate = "OPTEE_TEST_GATE";

    public static readonly TrustedApplicationManifest PerSession =
        new(new Guid("d2a1c6b0-2c65-4b4f-8a3c-08b2a7b4d011"));

    public static readonly TrustedApplicationManifest Single =
        new(new Guid("d2a1c6b0-2c65-4b4f-8a3c-08b2a7b4d012"))
        {
            SingleInstance = true,
            MultiSession = true,
            InstanceKeepAlive = true,
        };

    /// <summary>One that cannot be saved.</summary>
    public static readonly TrustedApplicationManifest Staying =
        new(new Guid("d2a1c6b0-2c65-4b4f-8a3c-08b2a7b4d013"));

    private uint _count;
    private byte[] _kept = [];

    public static TeeWorkerOptions Workers =>
        new() { FileName = ServerProcess.ProgramPath, Arguments = ["saved"], UserName = null };

    /// <summary>Gets the name of each entry point by which it ends.</summary>
    public Action<string> OnEnd { get; init; } = _ => { };

    public static SoftwareTeeBackend CreateTee() => CreateTee(_ => { });

    public static SoftwareTeeBackend CreateTee(Action<string> onEnd) => new(new SoftwareTeeOptions()
        .Add(PerSession, () => new SavedApplication { OnEnd = onEnd })
        .Add(Single, () => new SavedApplication { OnEnd = onEnd })
        .Add(Staying, () => new StayingApplication()));

    public void SaveInstance(IBufferWriter<byte> state)
    {
        Pass(".save");
        Write(state, _count);
        state.Write(_kept);
    }

    public void RestoreInstance(ReadOnlySpan<byte> state)
    {
        Pass(".restore");
        _count = BinaryPrimitives.ReadUInt32LittleEndian(state);
        _kept = state[sizeof(uint)..].ToArray();
        if (_kept.AsSpan().ContainsAnyExcept((byte)0x5a))
        {
            throw new InvalidDataException("what was kept has changed");
        }
    }

    public void SaveSession(object? context, IBufferWriter<byte> state) => Write(state, (uint)context!);

    public object RestoreSession(ClientIdentity client, ReadOnlySpan<byte> state) =>
        BinaryPrimitives.ReadUInt32LittleEndian(state);

    protected override TeeReturnCode OpenSession(ApplicationCall call)
    {
        call.SessionContext = 0u;
        return TeeReturnCode.Success;
    }

    protected override TeeReturnCode InvokeCommand(ApplicationCall call)
    {
        switch (call.CommandId)
        {
            case Grow:
                _kept = new byte[call[0].A];
                Array.Fill(_kept, (byte)0x5a);
                return TeeReturnCode.Success;

            case Describe:
                call[1].A = (uint)Environment.ProcessId;
                return TeeReturnCode.Success;

            case Sum:
                byte[] bytes = new byte[call[2].Size];
                bool isRead = call[2].TryRead(0, bytes);
                call[1].A = (uint)bytes.Sum(value => value);
                return isRead ? TeeReturnCode.Success : TeeReturnCode.Generic;

            case AddAfterTime:
                _ = call.Guest.GetTime(out _);
                break;

            default:
                break;
        }

        uint added = call[0].A;
        _count += added;
        uint session = (uint)call.SessionContext! + added;
        call.SessionContext = session;
        (call[1].A, call[1].B) = (_count, session);
        return TeeReturnCode.Success;
    }

    protected override void CloseSession(ApplicationCall call) => OnEnd(nameof(CloseSession));

    protected override void Destroy() => OnEnd(nameof(Destroy));

    private static void Pass(string gate)
    {
        if (Environment.GetEnvironmentVariable(Gate) is not { } path)
        {
            return;
        }

        while (File.Exists(path + gate))
        {
            File.WriteAllText(path + ".reached", $"{Environment.ProcessId}");
            Thread.Sleep(5);
        }
    }

    private static void Write(IBufferWriter<byte> state, uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(state.GetSpan(sizeof(uint)), value);
        state.Advance(sizeof(uint));
    }

    private sealed class StayingApplication : TrustedApplication
    {
        protected override TeeReturnCode InvokeCommand(ApplicationCall call) => TeeReturnCode.Success;
    }
}
