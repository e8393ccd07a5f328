using System.Text;
using MinimalVmm.Guest;
using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Smccc;

namespace MinimalVmm.Calls;

/// <summary>Says in words what a call and its answer mean. It looks at the guest's memory like a debugger and takes no part in the call.</summary>
internal sealed class CallReader(IGuestMemory memory)
{
    private const int PagesShown = 5;

    private readonly Dictionary<ulong, GuestAddress> _firstPages = [];
    private GuestAddress _message;
    private MessageParameter[] _parameters = [];

    /// <summary>Looks at a call before it is answered.</summary>
    public void Before(in SmcRegisters registers)
    {
        switch ((OpTeeFunction)registers.FunctionId.Value)
        {
            case OpTeeFunction.CALL_WITH_RPC_ARG:
                _message = registers.Pair(high: 1, low: 2);
                break;
            case OpTeeFunction.CALL_WITH_REGD_ARG when _firstPages.TryGetValue(registers.Pair(high: 1, low: 2), out GuestAddress page):
                _message = page.Add((uint)registers.X3);
                break;
            case OpTeeFunction.RETURN_FROM_RPC:
                return;
            default:
                _message = default;
                break;
        }

        _parameters = ReadParameters();
    }

    /// <summary>Says what the call and its answer mean.</summary>
    /// <returns>One or more lines.</returns>
    public string After(in SmcRegisters before, in SmcRegisters after)
    {
        OpTeeReturn code = (OpTeeReturn)(uint)after.X0;
        return (OpTeeFunction)before.FunctionId.Value switch
        {
            OpTeeFunction.CALLS_UID => $"UID {after.X0:x8}-{after.X1:x8}-{after.X2:x8}-{after.X3:x8}",
            OpTeeFunction.GET_OS_REVISION => $"OP-TEE {after.X0}.{after.X1}, build {after.X2:x}",
            OpTeeFunction.CALLS_REVISION => $"protocol {after.X0}.{after.X1}",
            OpTeeFunction.GET_THREAD_COUNT => $"{code}: {after.X1:x} calls at a time",
            OpTeeFunction.EXCHANGE_CAPABILITIES => $"{code}: {(OpTeeCapabilities)after.X1}\n {after.X3:x} parameters in messages to the guest",
            OpTeeFunction.DISABLE_SHM_CACHE when code == OpTeeReturn.ENOTAVAIL => "ENOTAVAIL: OP-TEE keeps none of our memory",
            OpTeeFunction.CALL_WITH_RPC_ARG or OpTeeFunction.CALL_WITH_REGD_ARG or OpTeeFunction.RETURN_FROM_RPC when code == OpTeeReturn.OK => ReadAnswer(),
            OpTeeFunction.CALL_WITH_RPC_ARG when code == OpTeeReturn.EBADADDR => $"EBADADDR: no message at {before.Pair(1, 2):x}",
            _ when code == OpTeeReturn.RPC_FOREIGN_INTR => "RPC_FOREIGN_INTR: not done yet, to be resumed",
            _ => code.ToString(),
        };
    }

    private MessageParameter[] ReadParameters()
    {
        if (!memory.TryRead(_message, out MessageHeader header))
        {
            return [];
        }

        MessageParameter[] parameters = new MessageParameter[Math.Min(header.ParameterCount, 6)];
        for (int index = 0; index < parameters.Length; index++)
        {
            _ = memory.TryRead(_message.Add(MessageHeader.Size + ((ulong)index * MessageParameter.Size)), out parameters[index]);
        }

        return parameters;
    }

    private string ReadAnswer()
    {
        _ = memory.TryRead(_message, out MessageHeader header);
        string result = ((TeeReturnCode)header.Return).ToString();
        string origin = (TeeOrigin)header.ReturnOrigin == TeeOrigin.TrustedApplication ? "application" : "OP-TEE";
        switch (header.Command)
        {
            case MessageCommand.REGISTER_SHM:
                return $"{header.Command} {_parameters[0].C:x} → {result}\n{ReadRegistration(_parameters[0])}";
            case MessageCommand.UNREGISTER_SHM:
                return $"{header.Command} {_parameters[0].C:x} → {result}";
            case MessageCommand.OPEN_SESSION:
                string session = header.Return == 0 ? $"session {header.Session:x}" : $"{result} ({origin})";
                return $"{header.Command} → {session}\n {_parameters[0].ToUuid()}";
            case MessageCommand.INVOKE_COMMAND:
                StringBuilder text = new($"{header.Command} {header.Function:x} in session {header.Session:x}");
                foreach ((MessageParameter before, MessageParameter after) in _parameters.Zip(ReadParameters()))
                {
                    _ = text.Append("\n ").Append(Read(before, after));
                }

                return text.Append($"\n → {result} ({origin})").ToString();
            default:
                return $"{header.Command} {header.Session:x} → {result}";
        }
    }

    private string ReadRegistration(in MessageParameter parameter)
    {
        ulong offset = parameter.A % SharedBuffer.PageSize;
        ulong[] pages = new ulong[(offset + parameter.B + SharedBuffer.PageSize - 1) / SharedBuffer.PageSize];
        for (int index = 0; index < Math.Min(pages.Length, PagesShown); index++)
        {
            _ = memory.TryRead(new GuestAddress(parameter.A - offset + ((ulong)index * sizeof(ulong))), out pages[index]);
        }

        _ = _firstPages.TryAdd(parameter.C, pages[0]);
        string shown = string.Join(' ', pages.Take(PagesShown).Select(page => $"{page:x}"));
        return $" {parameter.B:x} bytes from {offset:x} on in {pages.Length:x} page{(pages.Length == 1 ? "" : "s")}:\n {shown}{(pages.Length > PagesShown ? " …" : "")}";
    }

    private static string Read(in MessageParameter before, in MessageParameter after)
    {
        MessageAttribute type = before.Attribute & MessageAttribute.TYPE_MASK;
        return type switch
        {
            MessageAttribute.VALUE_INPUT => $"{type} {before.A:x} {before.B:x}",
            MessageAttribute.VALUE_OUTPUT => $"{type} → {after.A:x} {after.B:x}",
            MessageAttribute.VALUE_INOUT => $"{type} {before.A:x} {before.B:x} → {after.A:x} {after.B:x}",
            MessageAttribute.RMEM_INPUT => $"{type} {before.C:x}+{before.A:x}: {before.B:x} bytes",
            MessageAttribute.RMEM_OUTPUT or MessageAttribute.RMEM_INOUT => $"{type} {before.C:x}+{before.A:x}: {before.B:x} → {after.B:x}",
            _ => type.ToString(),
        };
    }
}
