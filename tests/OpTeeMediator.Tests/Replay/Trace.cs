using System.Globalization;
using System.Text.RegularExpressions;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Replay;

/// <summary>The recorded traffic of Linux 6.12's driver with a model TEE; see the first lines of the file.</summary>
internal static partial class Trace
{
    private const string FileName = "trace-linux-6.12.txt";

    /// <summary>Reads one variant of the recording.</summary>
    public static List<TraceCall> Read(char variant)
    {
        List<TraceCall> calls = [];
        TraceMessage? message = null;
        bool isInVariant = false;
        int number = 0;
        foreach (string line in File.ReadLines(
            Path.Combine(TestContext.CurrentContext.TestDirectory, "Replay", FileName)))
        {
            number++;
            if (VariantLine().Match(line) is { Success: true } heading)
            {
                isInVariant = heading.Groups[1].Value[0] == variant;
            }
            else if (isInVariant && CallLine().Match(line) is { Success: true } start)
            {
                message = start.Groups["address"].Success ? new TraceMessage(Hex(start.Groups["address"].Value)) : null;
                calls.Add(Start(number, start, message));
            }
            else if (isInVariant && calls.Count > 0)
            {
                Continue(calls, line, ref message);
            }
        }

        return calls;
    }

    private static TraceCall Start(int line, Match match, TraceMessage? message) => new()
    {
        Line = line,
        Name = match.Groups["name"].Value,
        FunctionId = match.Groups["id"].Success ? (uint)Hex(match.Groups["id"].Value) : 0,
        Arguments = Words(match.Groups["arguments"].Value),
        Results = match.Groups["results"].Success ? Words(match.Groups["results"].Value) : [],
        Message = message,
    };

    /// <summary>Reads a line that follows a call's; its header and parameter lines belong to the message
    /// that was named last.</summary>
    private static void Continue(List<TraceCall> calls, string line, ref TraceMessage? message)
    {
        TraceCall last = calls[^1];
        if (SeenLine().Match(line) is { Success: true } seen)
        {
            // The program's line may come after the next call: it is of the last one of its kind that a client of its
            // made (four parameters, or six).
            uint command = seen.Groups["what"].Value == "open" ? 0u : 1u;
            calls.FindLast(call => call.Message is { Parameters.Count: > 2 } sent && sent.Command == command)!.Seen =
                ((uint)Hex(seen.Groups["code"].Value), (uint)Hex(seen.Groups["origin"].Value));
        }
        else if (AnswerLine().Match(line) is { Success: true } answer)
        {
            message = last.Answer = new TraceMessage(0);
            ReadHeader(message, answer.Groups["header"].Value);
        }
        else if (AskedMessageLine().Match(line) is { Success: true } asking)
        {
            message = new TraceMessage(Hex(asking.Groups["address"].Value));
            ReadHeader(message, asking.Groups["header"].Value);
        }
        else if (AskedLine().Match(line) is { Success: true } asked)
        {
            ulong code = Hex(asked.Groups["code"].Value);
            last.Asked = new TraceRequest(
                [code, Hex(asked.Groups["a1"].Value), Hex(asked.Groups["a2"].Value)],
                Hex(asked.Groups["thread"].Value),
                code == OpTeeSmc.ReturnRpcCommand ? message : null);
        }
        else if (ReturnLine().Match(line) is { Success: true } end)
        {
            last.Results = [Hex(end.Groups[1].Value)];
        }
        else if (HeaderLine().IsMatch(line))
        {
            ReadHeader(message!, line);
        }
        else if (ParameterLine().Match(line) is { Success: true } parameter)
        {
            ulong[] words = Words(parameter.Groups["words"].Value.Replace(",", "", StringComparison.Ordinal));
            message!.Parameters.Add(
                new GuestParameter(Hex(parameter.Groups["attributes"].Value), words[0], words[1], words[2]));
        }
        else if (PagesLine().Match(line) is { Success: true } pages)
        {
            message!.Pages = Words(pages.Groups[1].Value);
        }
        else if (FirstByteLine().Match(line) is { Success: true } first)
        {
            string text = first.Groups["byte"].Value;
            last.FirstBytes[first.Groups["index"].Value[0] - '0'] = text.Length == 1 ? (byte)text[0]
                : (byte)Hex(text[2..]);
        }
        else if (line.EndsWith("set pending)", StringComparison.Ordinal))
        {
            last.Interrupts = true;
        }
    }

    private static void ReadHeader(TraceMessage message, string text)
    {
        foreach (Match field in Field().Matches(text))
        {
            message.Header[field.Groups[1].Value] = (uint)Hex(field.Groups[2].Value);
        }
    }

    private static ulong Hex(string text) => ulong.Parse(text, NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    private static ulong[] Words(string text) =>
        [.. text.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(Hex)];

    [GeneratedRegex(@"^#+ VARIANT (\w)")]
    private static partial Regex VariantLine();

    // PSCI's calls name a processor, and are not for the TEE.
    [GeneratedRegex(@"SMC (?<name>[A-Z_]+) (?:(?<id>[0-9a-f]{8}) )?x1\.\.x7=(?<arguments>[0-9a-f ]+?)(?: -> (?:msg_arg@(?<address>[0-9a-f]+)|(?<results>[0-9a-f ]+)))?$")]
    private static partial Regex CallLine();

    [GeneratedRegex(@"^ +cmd=.*")]
    private static partial Regex HeaderLine();

    [GeneratedRegex(@"(\w+)=([0-9a-f]+)")]
    private static partial Regex Field();

    [GeneratedRegex(@"^ +p\d attr=(?<attributes>[0-9a-f]+) \S+ \{(?<words>[^}]*)\}")]
    private static partial Regex ParameterLine();

    [GeneratedRegex(@"  RPC result: (?<header>cmd=.*)")]
    private static partial Regex AnswerLine();

    [GeneratedRegex(@"  RPC arg@(?<address>[0-9a-f]+) cookie [0-9a-f]+: (?<header>cmd=.*)")]
    private static partial Regex AskedMessageLine();

    [GeneratedRegex(
        @"  -> RPC (?<code>[0-9a-f]+) a1=(?<a1>[0-9a-f]+) a2=(?<a2>[0-9a-f]+) \(a3=tid (?<thread>[0-9a-f]+)\)")]
    private static partial Regex AskedLine();

    [GeneratedRegex(@"  (?:REGISTER_SHM cookie=.* pages\(1 list pages\)=|SHM_ALLOC page list \(1 list pages\): off=0 )([0-9a-f ]+)$")]
    private static partial Regex PagesLine();

    [GeneratedRegex(@"  memref (?<index>\d): first=b'(?<byte>[^']+)'")]
    private static partial Regex FirstByteLine();

    [GeneratedRegex(@"  -> return ([0-9a-f]+)")]
    private static partial Regex ReturnLine();

    [GeneratedRegex(@"tclient: (?<what>open|invoke) (?<code>[0-9a-f]+) origin (?<origin>\d)")]
    private static partial Regex SeenLine();
}
