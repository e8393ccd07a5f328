using System.Buffers;
using System.Buffers.Binary;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.Tests.State;

/// <summary>A trusted application that counts, for the instance and for each session, and can be saved.</summary>
internal sealed class CountingApplication : TrustedApplication, ISavableApplication
{
    /// <summary>Adds value[0].a to both counts; value[1] has the instance's and the session's.</summary>
    public const uint Add = 1;

    /// <summary>Copies memory[0] to memory[1], each byte plus 1.</summary>
    public const uint Copy = 2;

    /// <summary>As <see cref="Add"/>, after the guest has said its time.</summary>
    public const uint AddAfterTime = 3;

    /// <summary>As <see cref="Add"/>, when <see cref="MayGoOn"/> is set.</summary>
    public const uint AddWhenReleased = 4;

    /// <summary>Panics.</summary>
    public const uint Panic = 5;

    /// <summary>As <see cref="AddAfterTime"/>, while it has memory of the guest's.</summary>
    public const uint AddAfterAllocation = 6;

    /// <summary>As <see cref="Add"/>, if the client has cancelled it.</summary>
    public const uint AddAfterCancellation = 7;

    public static readonly TrustedApplicationManifest PerSession =
        new(new Guid("d2a1c6b0-2c65-4b4f-8a3c-08b2a7b4d001"));

    public static readonly TrustedApplicationManifest Single =
        new(new Guid("d2a1c6b0-2c65-4b4f-8a3c-08b2a7b4d002"))
        {
            SingleInstance = true,
            MultiSession = true,
            InstanceKeepAlive = true,
        };

    private uint _count;

    public ManualResetEventSlim MayGoOn { get; init; } = new(false);

    /// <summary>Gets the name of each entry point by which it ends.</summary>
    public Action<string> OnEnd { get; init; } = _ => { };

    /// <summary>Whether restoring fails.</summary>
    public bool RefusesState { get; init; }

    public void SaveInstance(IBufferWriter<byte> state) => Write(state, _count);

    public void RestoreInstance(ReadOnlySpan<byte> state) => _count =
        RefusesState ? throw new InvalidDataException("no") : BinaryPrimitives.ReadUInt32LittleEndian(state);

    public void SaveSession(object? context, IBufferWriter<byte> state) => Write(state, (uint)context!);

    public object RestoreSession(ClientIdentity client, ReadOnlySpan<byte> state) =>
        BinaryPrimitives.ReadUInt32LittleEndian(state);

    protected internal override TeeReturnCode OpenSession(ApplicationCall call)
    {
        call.SessionContext = 0u;
        return TeeReturnCode.Success;
    }

    protected internal override TeeReturnCode InvokeCommand(ApplicationCall call)
    {
        switch (call.CommandId)
        {
            case Copy:
                byte[] bytes = new byte[call[0].Size];
                _ = call[0].TryRead(0, bytes);
                for (int index = 0; index < bytes.Length; index++)
                {
                    bytes[index]++;
                }

                return call[1].Write(bytes);

            case Panic:
                throw new InvalidOperationException("on purpose");

            case AddAfterTime:
                _ = call.Guest.GetTime(out _);
                break;

            case AddAfterAllocation:
                _ = call.Guest.Allocate(GuestMemoryKind.Kernel, 5000);
                _ = call.Guest.GetTime(out _);
                break;

            case AddAfterCancellation:
                _ = call.UnmaskCancellation();
                if (!call.IsCancellationRequested)
                {
                    return TeeReturnCode.BadState;
                }

                break;

            case AddWhenReleased:
                MayGoOn.Wait();
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

    protected internal override void CloseSession(ApplicationCall call) => OnEnd(nameof(CloseSession));

    protected internal override void Destroy() => OnEnd(nameof(Destroy));

    private static void Write(IBufferWriter<byte> state, uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(state.GetSpan(sizeof(uint)), value);
        state.Advance(sizeof(uint));
    }
}
