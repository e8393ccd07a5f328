using System.Globalization;
using System.Text.RegularExpressions;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>Reads trace-optee-4.5.txt, which says what its lines mean.</summary>
internal static partial class Recording
{
    public static List<RecordedExchange> Read()
    {
        List<RecordedExchange> exchanges = [];
        RecordedMessage? message = null;
        (ulong[] Made, ulong[] Answered)? early = null;
        int number = 0;
        foreach (string line in File.ReadLines(Path.Combine(TestContext.CurrentContext.TestDirectory, "Forwarding", "trace-optee-4.5.txt")))
        {
            number++;
            RecordedExchange? last = exchanges.LastOrDefault();
            if (line.StartsWith('#'))
            {
                continue;
            }

            if (MonitorLine().Match(line) is { Success: true } made)
            {
                (ulong[], ulong[]) registers = (Words(made.Groups[1].Value), Words(made.Groups[2].Value));
                if (last is null || last.Made.Length > 0)
                {
                    early = registers; // of a fast call, whose own line follows
                }
                else
                {
                    (last.Made, last.Answered) = registers;
                }
            }
            else if (FastLine().Match(line) is { Success: true } fast)
            {
                exchanges.Add(new RecordedExchange
                {
                    Line = number, Name = fast.Groups[1].Value, Returned = Words(fast.Groups[2].Value), Made = early!.Value.Made, Answered = early.Value.Answered,
                });
            }
            else if (CallLine().Match(line) is { Success: true } call)
            {
                exchanges.Add(new RecordedExchange { Line = number, Name = "CALL_WITH_ARG", MessageAddress = Hex(call.Groups[1].Value) });
                message = null;
            }
            else if (ResumeLine().Match(line) is { Success: true } resume)
            {
                exchanges.Add(new RecordedExchange { Line = number, Name = "RETURN_FROM_RPC", Arguments = Words(resume.Groups[1].Value) });
            }
            else if (MessageLine().Match(line) is { Success: true } header)
            {
                message = new RecordedMessage(
                [
                    uint.Parse(header.Groups["cmd"].Value, CultureInfo.InvariantCulture), Number(header, "func"), Number(header, "session"), Number(header, "cancel"), 0,
                    Number(header, "ret"), Number(header, "origin"), Number(header, "count"),
                ]);
                switch (header.Groups["what"].Value)
                {
                    case "shadow arg":
                        last!.Shadow = message;
                        break;

                    case "done" or "RPC cmd from OP-TEE":
                        last!.Result = message;
                        last.IsRpc = header.Groups["what"].Value != "done";
                        break;

                    default:
                        last!.Guest = message;
                        break;
                }
            }
            else if (ParameterLine().Match(line) is { Success: true } parameter)
            {
                ulong[] words = Words(parameter.Groups[2].Value.Replace(",", "", StringComparison.Ordinal));
                message!.Parameters.Add(new GuestParameter(Hex(parameter.Groups[1].Value), words[0], words[1], words[2]));
            }
            else if (PageListLine().Match(line) is { Success: true } list)
            {
                last!.FirstPage = Hex(list.Groups[1].Value);
            }
            else if (ReturnLine().Match(line) is { Success: true } returned)
            {
                last!.Returned = Words($"{returned.Groups[1].Value} {returned.Groups[2].Value} {returned.Groups[3].Value}");
            }
        }

        return exchanges;
    }

    private static uint Number(Match match, string group) => (uint)Hex(match.Groups[group].Value);

    private static ulong Hex(string text) => ulong.Parse(text, NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    private static ulong[] Words(string text) => [.. text.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(Hex)];

    [GeneratedRegex(@"EL2->EL3 \[\d+ us\] (.*) => (.*)$")]
    private static partial Regex MonitorLine();

    [GeneratedRegex(@"\] SMC (\w+) -> ([0-9a-f ]+)$")]
    private static partial Regex FastLine();

    [GeneratedRegex(@"\] SMC CALL_WITH_ARG -> guest msg_arg@([0-9a-f]+)")]
    private static partial Regex CallLine();

    [GeneratedRegex(@"\] SMC RETURN_FROM_RPC x1..x5=(.*)$")]
    private static partial Regex ResumeLine();

    [GeneratedRegex(@"(?<what>shadow arg|done|RPC cmd from OP-TEE|guest answered RPC|)(?:@PA [0-9a-f]+)?:? *cmd=(?<cmd>\d+)\(\w+\) func=(?<func>\w+) session=(?<session>\w+) cancel_id=(?<cancel>\w+) ret=(?<ret>\w+) origin=(?<origin>\w+) num_params=(?<count>\w+)")]
    private static partial Regex MessageLine();

    [GeneratedRegex(@"^ +p\d attr=([0-9a-f]+) \S+ \{(.*)\}")]
    private static partial Regex ParameterLine();

    [GeneratedRegex(@"page list IPA ([0-9a-f]+)")]
    private static partial Regex PageListLine();

    [GeneratedRegex(@"-> (?:return|RPC) ([0-9a-f]+)(?: a1=([0-9a-f]+) a2=([0-9a-f]+) a3=[0-9a-f]+)?$")]
    private static partial Regex ReturnLine();
}
