using System.Globalization;
using System.Text.RegularExpressions;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Testing.Traces;

/// <summary>Reads recorded SMCs: of Linux 6.12's driver with a model TEE, and of a forwarder with OP-TEE 4.5.</summary>
/// <remarks>
/// The first lines of each file explain its lines. A call begins with a line <c>SMC NAME …</c>; the lines that follow
/// belong to it. A message is a header line, <c>cmd=… func=… …</c>, and a line for each parameter.
/// </remarks>
public static partial class Trace
{
    /// <summary>Reads a trace.</summary>
    /// <param name="path">The file.</param>
    /// <param name="variant">The variant to read; <see langword="null"/> for a file without variants.</param>
    public static List<TraceCall> Read(string path, char? variant = null)
    {
        List<TraceCall> calls = [];
        TraceMessage? message = null;
        SmcExchange? exchange = null;
        bool isInVariant = variant is null;
        int number = 0;
        foreach (string line in File.ReadLines(path))
        {
            number++;
            if (VariantLine().Match(line) is { Success: true } heading)
            {
                isInVariant = heading.Groups[1].Value[0] == variant;
            }
            else if (!isInVariant || line.StartsWith('#'))
            {
                continue;
            }
            else if (CallLine().Match(line) is { Success: true } start)
            {
                message = start.Groups["address"].Success ? new TraceMessage(Hex(start, "address")) : null;
                calls.Add(Start(number, start, message));

                // The forwarder's exchange with OP-TEE stands before the line of a fast call, and after that of others.
                calls[^1].Exchange = calls[^1].Results.Length > 0 ? exchange : null;
                exchange = null;
            }
            else if (ExchangeLine().Match(line) is { Success: true } made)
            {
                exchange = SmcExchange.Parse(made.Groups[1].Value);
                if (calls.Count > 0 && calls[^1].Exchange is null)
                {
                    calls[^1].Exchange = exchange;
                }
            }
            else if (calls.Count > 0)
            {
                Continue(calls, line, ref message);
            }
        }

        return calls;
    }

    internal static ulong[] Words(string text) =>
        [.. text.Split([' ', ','], StringSplitOptions.RemoveEmptyEntries).Select(Hex)];

    private static TraceCall Start(int line, Match match, TraceMessage? message) => new()
    {
        Line = line,
        Name = match.Groups["name"].Value,
        FunctionId = match.Groups["id"].Success ? (uint)Hex(match, "id") : 0,
        Arguments = Words(match.Groups["arguments"].Value),
        Results = Words(match.Groups["results"].Value),
        Message = message,
    };

    /// <summary>Reads a line of a call; parameter lines belong to the message that was named last.</summary>
    private static void Continue(List<TraceCall> calls, string line, ref TraceMessage? message)
    {
        TraceCall last = calls[^1];
        if (MessageLine().Match(line) is { Success: true } named)
        {
            message = MessageOf(last, named, message!);
            message.Header = HeaderOf(named);
        }
        else if (ParameterLine().Match(line) is { Success: true } parameter)
        {
            ulong[] words = Words(parameter.Groups["words"].Value);
            message!.Parameters.Add(new GuestParameter(Hex(parameter, "attributes"), words[0], words[1], words[2]));
        }
        else if (PagesLine().Match(line) is { Success: true } pages)
        {
            message!.Pages = Words(pages.Groups["pages"].Value);
        }
        else if (AskedLine().Match(line) is { Success: true } asked)
        {
            ulong code = Hex(asked, "code");
            last.Asked = new TraceRequest(
                [code, Hex(asked, "a1"), Hex(asked, "a2")],
                Hex(asked, "thread"),
                code == OpTeeSmc.ReturnRpcCommand ? message : null);
        }
        else if (ReturnLine().Match(line) is { Success: true } end)
        {
            last.Results = [Hex(end.Groups[1].Value)];
        }
        else if (SeenLine().Match(line) is { Success: true } seen)
        {
            // The program's line may follow the next call. It belongs to the last call of its kind that a client of
            // the program made: those have four parameters, or six.
            uint command = seen.Groups["what"].Value == "open" ? 0u : 1u;
            calls.FindLast(call => call.Message is { Parameters.Count: > 2 } sent && sent.Command == command)!.Seen =
                ((uint)Hex(seen, "code"), (uint)Hex(seen, "origin"));
        }
        else if (FirstByteLine().Match(line) is { Success: true } first)
        {
            string text = first.Groups["byte"].Value;
            last.FirstBytes[first.Groups["index"].Value[0] - '0'] =
                text.Length == 1 ? (byte)text[0] : (byte)Hex(text[2..]);
        }
        else if (line.EndsWith("set pending)", StringComparison.Ordinal))
        {
            last.Interrupts = true;
        }
    }

    private static TraceMessage MessageOf(TraceCall call, Match named, TraceMessage current)
    {
        switch (named.Groups["what"].Value)
        {
            case "RPC result" or "guest answered RPC":
                return call.Answer = new TraceMessage(0);
            case "shadow arg":
                return call.Shadow = new TraceMessage(0);
            case "done":
                return call.Done = new TraceMessage(0);
            case "RPC arg" or "RPC cmd from OP-TEE":
                return new TraceMessage(named.Groups["address"].Success ? Hex(named, "address") : 0);
            default:
                return current;
        }
    }

    private static uint[] HeaderOf(Match message) =>
    [
        uint.Parse(message.Groups["cmd"].Value, CultureInfo.InvariantCulture), (uint)Hex(message, "func"),
        (uint)Hex(message, "session"), (uint)Hex(message, "cancel"), 0, (uint)Hex(message, "ret"),
        (uint)Hex(message, "origin"), (uint)Hex(message, "count"),
    ];

    private static ulong Hex(Match match, string group) => Hex(match.Groups[group].Value);

    private static ulong Hex(string text) =>
        ulong.Parse(text, NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"^#+ VARIANT (\w)")]
    private static partial Regex VariantLine();

    // PSCI's calls name a processor, and are not for the TEE.
    [GeneratedRegex(@"SMC (?<name>[A-Z_]+)(?: (?<id>[0-9a-f]{8}))?(?: x1\.\.x[57]=(?<arguments>[0-9a-f ]+?))?" +
        @"(?: -> (?:(?:guest )?msg_arg@(?<address>[0-9a-f]+)(?: \(PA [0-9a-f]+\))?|(?<results>[0-9a-f ]+)))?$")]
    private static partial Regex CallLine();

    [GeneratedRegex(@"EL2->EL3 \[\d+ us\] (.*)$")]
    private static partial Regex ExchangeLine();

    [GeneratedRegex(@"(?:  (?<what>RPC result|guest answered RPC|shadow arg|done|RPC arg|RPC cmd from OP-TEE)" +
        @"(?:@(?:PA )?(?<address>[0-9a-f]+))?(?: cookie [0-9a-f]+)?:|^) *cmd=(?<cmd>\d+)\(\w+\) func=(?<func>\w+)" +
        @" session=(?<session>\w+) cancel_id=(?<cancel>\w+) ret=(?<ret>\w+) origin=(?<origin>\w+)" +
        @" num_params=(?<count>\w+)")]
    private static partial Regex MessageLine();

    [GeneratedRegex(@"^ +p\d attr=(?<attributes>[0-9a-f]+) \S+ \{(?<words>[^}]*)\}")]
    private static partial Regex ParameterLine();

    [GeneratedRegex(@"  (?:REGISTER_SHM cookie=.* pages\(1 list pages\)=(?<pages>[0-9a-f ]+)$|" +
        @"SHM_ALLOC page list \(1 list pages\): off=0 (?<pages>[0-9a-f ]+)$|page list IPA (?<pages>[0-9a-f]+))")]
    private static partial Regex PagesLine();

    [GeneratedRegex(@"  -> RPC (?<code>[0-9a-f]+) a1=(?<a1>[0-9a-f]+) a2=(?<a2>[0-9a-f]+)" +
        @" \(?a3=(?:tid )?(?<thread>[0-9a-f]+)")]
    private static partial Regex AskedLine();

    [GeneratedRegex(@"  -> return ([0-9a-f]+)")]
    private static partial Regex ReturnLine();

    [GeneratedRegex(@"tclient: (?<what>open|invoke) (?<code>[0-9a-f]+) origin (?<origin>\d)")]
    private static partial Regex SeenLine();

    [GeneratedRegex(@"  memref (?<index>\d): first=b'(?<byte>[^']+)'")]
    private static partial Regex FirstByteLine();
}
