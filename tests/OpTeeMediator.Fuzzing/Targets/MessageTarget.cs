using System.Runtime.InteropServices;
using OpTeeMediator.Fuzzing.Engine;
using OpTeeMediator.Memory;
using OpTeeMediator.Messages;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Traces;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>The message of a call and its parameters: an OP-TEE of a VM gets the input as the message.</summary>
/// <remarks>An input: the call, where the message lies in its page in units of 8 bytes, and the message.</remarks>
internal sealed class MessageTarget : FuzzTarget, IDisposable
{
    private static readonly uint[] Calls =
        [OpTeeSmc.CallWithArgument, OpTeeSmc.CallWithRpcArgument, OpTeeSmc.CallWithRegisteredArgument];

    private readonly FuzzVm _vm = new();
    private readonly MessageReader _reader;
    private readonly byte[] _before = new byte[GuestPages.PageSize];

    public MessageTarget() => _reader = new MessageReader(
        new NonThrowingGuestMemory(_vm.Memory, Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance),
        FuzzVm.RpcParameters);

    public override IEnumerable<byte[]> Seeds
    {
        get
        {
            GuestParameter memory = GuestParameter.RegisteredInOut(0x100, 0x1000, FuzzVm.LongCookie);
            for (byte call = 0; call < Calls.Length; call++)
            {
                yield return Input(call, new(OpTeeMessage.CommandInvoke, memory, GuestParameter.ValueInOut(1, 2))
                {
                    Session = _vm.Session,
                });
                yield return Input(call, new(OpTeeMessage.CommandInvoke,
                    GuestParameter.PageList(FuzzVm.ListPage | 0x10, 0x1800, 7),
                    GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInput, 0, 0, 0),
                    GuestParameter.RegisteredIn(0, 0, 0), GuestParameter.ValueOut())
                {
                    Session = _vm.Session,
                });
                yield return Input(call, FakeDriver.Opening(FuzzVm.Application, default, 0, memory));
                yield return Input(call, new(OpTeeMessage.CommandCloseSession) { Session = _vm.Session });
                yield return Input(call, new(OpTeeMessage.CommandCancel) { Session = _vm.Session, CancelId = 3 });
                yield return Input(call, new(
                    OpTeeMessage.CommandRegisterSharedMemory, GuestParameter.PageList(FuzzVm.ListPage, 0x3000, 9)));
                yield return Input(call, new(OpTeeMessage.CommandUnregisterSharedMemory,
                    GuestParameter.RegisteredIn(0, 0, FuzzVm.LongCookie)));
                yield return Input(call, new(OpTeeMessage.CommandDoBottomHalf));
                yield return Input(call, new(OpTeeMessage.CommandStopAsyncNotification));
            }

            foreach (TraceCall recorded in FuzzTraces.Linux.Where(recorded => recorded.Message is not null))
            {
                byte call = (byte)Math.Max(0, Array.IndexOf(Calls, recorded.FunctionId));
                yield return Input(call, Adapt(recorded.Message!.Content));
            }
        }
    }

    public override void Execute(ReadOnlySpan<byte> input)
    {
        uint call = Calls[input.Length > 0 ? input[0] % Calls.Length : 0];
        int offset = input.Length > 1 ? input[1] % 64 * sizeof(ulong) : 0;
        offset = call == OpTeeSmc.CallWithRegisteredArgument ? offset : 0;
        ReadOnlySpan<byte> message = input.Length > 2 ? input[2..] : [];
        Span<byte> page = _vm.Memory.At(FuzzVm.MessagePage);
        page.Clear();
        message.CopyTo(page[offset..]);
        page.CopyTo(_before);
        CheckReader(call, new GuestRange(FuzzMemory.Page(FuzzVm.MessagePage) + (uint)offset,
            (ulong)(page.Length - offset)));

        uint answer = _vm.Call(call, offset);

        CheckPage(offset, answer, page);
        _vm.Restore();
    }

    public void Dispose() => _vm.Dispose();

    private void CheckReader(uint call, GuestRange place)
    {
        Message message = default;
        Refusal? refusal = _reader.Read(call, place, ref message, out int rpcOffset);
        if (refusal is not null)
        {
            Require(rpcOffset == 0, "a refused message has no room for RPC messages");
            return;
        }

        ulong size = (ulong)OpTeeMessage.Size((int)message.Header.ParameterCount);
        Require(size <= place.Length, "an accepted message lies in its place");
        Require((rpcOffset == 0) == (call == OpTeeSmc.CallWithArgument), "room for RPC messages where it was offered");
        Require(rpcOffset == 0
            || (rpcOffset == (int)size && size + (ulong)OpTeeMessage.Size(FuzzVm.RpcParameters) <= place.Length),
            "the RPC message lies in the place, behind the message");
    }

    // Only the answer may change, and only in the message; what the applications write lies in other pages.
    private void CheckPage(int offset, uint answer, ReadOnlySpan<byte> page)
    {
        ReadOnlySpan<byte> header = page[offset..];
        uint count = header.Length < OpTeeMessage.HeaderSize ? 0 : MemoryMarshal.Cast<byte, uint>(header)[7];
        if (answer != OpTeeSmc.ReturnOk)
        {
            Require(page.SequenceEqual(_before), "a call that is refused in x0 leaves its message as it was");
            return;
        }

        int end = offset + OpTeeMessage.Size((int)count);
        Require(page[..offset].SequenceEqual(_before.AsSpan(0, offset)), "nothing before the message is written");
        Require(page[end..].SequenceEqual(_before.AsSpan(end)), "nothing after the message is written");
        ReadOnlySpan<uint> words = MemoryMarshal.Cast<byte, uint>(header);
        ReadOnlySpan<uint> before = MemoryMarshal.Cast<byte, uint>(_before.AsSpan(offset));
        Require(words[0] == before[0] && words[7] == before[7], "command and number of parameters stay");
        Require(words[0] > OpTeeMessage.CommandInvoke || words[6] is >= 1 and <= 4, "the origin is a known one");
        for (int index = 0; index < (int)count; index++)
        {
            int attributes = (OpTeeMessage.Size(index)) / sizeof(uint);
            Require(words[attributes] == before[attributes] && words[attributes + 1] == before[attributes + 1],
                "attributes stay");
        }
    }

    // A recorded message, with the session and the memory of this VM.
    private GuestMessage Adapt(GuestMessage message) => message with
    {
        Session = message.Session == 0 ? 0 : _vm.Session,
        Parameters =
        [
            .. message.Parameters.Select(parameter => (uint)(parameter.Attributes & OpTeeMessage.TypeMask) switch
            {
                >= OpTeeMessage.TypeRegisteredInput and <= OpTeeMessage.TypeRegisteredInOut =>
                    parameter with { A = parameter.A % 0x1000, B = parameter.B % 0x1000, C = FuzzVm.LongCookie },
                >= OpTeeMessage.TypeTemporaryInput when parameter.A != 0 =>
                    parameter with { A = FuzzVm.ListPage | (parameter.A % 0x1000) },
                _ => parameter,
            }),
        ],
    };

    private static byte[] Input(byte call, GuestMessage message) => [call, 0, .. FuzzVm.BytesOf(message)];
}
