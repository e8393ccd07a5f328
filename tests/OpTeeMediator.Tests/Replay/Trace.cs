using System.Globalization;
using System.Text.RegularExpressions;
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
        bool isInVariant = false;
        bool isOfCall = false;
        int number = 0;
        foreach (string line in File.ReadLines(Path.Combine(TestContext.CurrentContext.TestDirectory, "Replay", FileName)))
        {
            number++;
            if (VariantLine().Match(line) is { Success: true } heading)
            {
                isInVariant = heading.Groups[1].Value[0] == variant;
            }
            else if (isInVariant && CallLine().Match(line) is { Success: true } start)
            {
                // What follows a RETURN_FROM_RPC is of a call that is left out.
                isOfCall = start.Groups["name"].Value != "RETURN_FROM_RPC";
                if (isOfCall)
                {
                    calls.Add(Start(number, start));
                }
            }
            else if (isInVariant && calls.Count > 0)
            {
                Continue(calls, isOfCall, line);
            }
        }

        return calls;
    }

    private static TraceCall Start(int line, Match match) => new()
    {
        Line = line,
        Name = match.Groups["name"].Value,
        FunctionId = match.Groups["id"].Success ? (uint)Hex(match.Groups["id"].Value) : 0,
        Arguments = Words(match.Groups["arguments"].Value),
        Results = match.Groups["results"].Success ? Words(match.Groups["results"].Value) : [],
        MessageAddress = match.Groups["address"].Success ? Hex(match.Groups["address"].Value) : 0,
    };

    private static void Continue(List<TraceCall> calls, bool isOfCall, string line)
    {
        TraceCall last = calls[^1];
        if (SeenLine().Match(line) is { Success: true } seen)
        {
            // The program's line may come after the next call: it is of the last one of its kind that a client of its made (four parameters, or six).
            uint command = seen.Groups["what"].Value == "open" ? 0u : 1u;
            calls.FindLast(call => call.HasMessage && call.Command == command && call.Parameters.Count > 2)!.Seen =
                ((uint)Hex(seen.Groups["code"].Value), (uint)Hex(seen.Groups["origin"].Value));
        }
        else if (!isOfCall)
        {
            return;
        }
        else if (line.Contains("-> RPC", StringComparison.Ordinal))
        {
            last.MakesRpc = true;
        }
        else if (ReturnLine().Match(line) is { Success: true } end)
        {
            last.Results = [Hex(end.Groups[1].Value)];
        }
        else if (HeaderLine().Match(line) is { Success: true } header && last.Header.Count == 0)
        {
            foreach (Match field in Field().Matches(header.Value))
            {
                last.Header[field.Groups[1].Value] = (uint)Hex(field.Groups[2].Value);
            }
        }
        else if (ParameterLine().Match(line) is { Success: true } parameter && last.Parameters.Count < last.Header["num_params"])
        {
            ulong[] words = Words(parameter.Groups["words"].Value.Replace(",", "", StringComparison.Ordinal));
            last.Parameters.Add(new GuestParameter(Hex(parameter.Groups["attributes"].Value), words[0], words[1], words[2]));
        }
        else if (PagesLine().Match(line) is { Success: true } pages)
        {
            last.Pages = Words(pages.Groups[1].Value);
        }
        else if (FirstByteLine().Match(line) is { Success: true } first)
        {
            string text = first.Groups["byte"].Value;
            last.FirstBytes[first.Groups["index"].Value[0] - '0'] = text.Length == 1 ? (byte)text[0] : (byte)Hex(text[2..]);
        }
    }

    private static ulong Hex(string text) => ulong.Parse(text, NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    private static ulong[] Words(string text) => [.. text.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(Hex)];

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

    [GeneratedRegex(@"  REGISTER_SHM cookie=.* pages\(\d+ list pages\)=([0-9a-f ]+)$")]
    private static partial Regex PagesLine();

    [GeneratedRegex(@"  memref (?<index>\d): first=b'(?<byte>[^']+)'")]
    private static partial Regex FirstByteLine();

    [GeneratedRegex(@"  -> return ([0-9a-f]+)")]
    private static partial Regex ReturnLine();

    [GeneratedRegex(@"tclient: (?<what>open|invoke) (?<code>[0-9a-f]+) origin (?<origin>\d)")]
    private static partial Regex SeenLine();
}
