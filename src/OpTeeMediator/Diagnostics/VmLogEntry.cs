using System.Collections;

namespace OpTeeMediator.Diagnostics;

/// <summary>An entry of a VM: its text with the VM's name before it, and its values with the name among them.</summary>
internal sealed class VmLogEntry(string vm, string text, IReadOnlyList<KeyValuePair<string, object?>> values)
    : IReadOnlyList<KeyValuePair<string, object?>>
{
    // By which logging providers find the template.
    private const string Template = "{OriginalFormat}";

    public int Count => values.Count + 1;

    public KeyValuePair<string, object?> this[int index]
    {
        get
        {
            if (index == 0)
            {
                return new("Vm", vm);
            }

            KeyValuePair<string, object?> value = values[index - 1];
            return value.Key == Template ? new(Template, $"{{Vm}}: {value.Value}") : value;
        }
    }

    public IEnumerator<KeyValuePair<string, object?>> GetEnumerator()
    {
        for (int index = 0; index < Count; index++)
        {
            yield return this[index];
        }
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    public override string ToString() => $"{vm}: {text}";
}
