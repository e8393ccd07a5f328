namespace KvmVmm.HostConsole;

/// <summary>
/// Ctrl-A on a terminal, as in qemu: then x ends the VMM, Ctrl-A sends one Ctrl-A, other keys are dropped.
/// </summary>
/// <remarks>
/// A raw terminal passes every key to the guest, also Ctrl-C, so that one is needed for the VMM. Not thread-safe.
/// </remarks>
internal sealed class EscapeKey(Action end)
{
    private const byte Key = 1;

    private bool _isPressed;

    /// <summary>Takes the key and what follows it out of the input.</summary>
    /// <param name="input">The input; what is for the guest moves to its beginning.</param>
    /// <returns>How many bytes are for the guest.</returns>
    public int Filter(Span<byte> input)
    {
        int length = 0;
        foreach (byte value in input)
        {
            bool isCommand = _isPressed;
            _isPressed = value == Key && !isCommand;
            if (_isPressed)
            {
                continue;
            }

            if (!isCommand || value == Key)
            {
                input[length++] = value;
            }
            else if (value == (byte)'x')
            {
                end();
            }
        }

        return length;
    }
}
