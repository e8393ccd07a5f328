namespace KvmVmm.HostConsole;

/// <summary>Joins the guest's serial port with the VMM's standard input and output.</summary>
/// <remarks>
/// It lives as long as the VMM, so nothing that was typed while the guest reboots is lost. Thread-safe.
/// </remarks>
internal sealed class GuestConsole : IDisposable
{
    /// <summary>The most bytes that wait for the guest.</summary>
    /// <remarks>More than a person types ahead; a pipe's writer waits.</remarks>
    public const int InputCapacity = 4096;

    // Enough that a vCPU rarely waits for a reader that is only slow.
    private const int OutputCapacity = 64 << 10;

    // A reader that has stopped reading must not keep the VMM from ending.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    private readonly ByteQueue _input = new(InputCapacity);
    private readonly ByteQueue _output = new(OutputCapacity);
    private readonly object _reading = new();
    private readonly StandardInput _source;
    private readonly Stream _target;
    private readonly RawTerminal? _terminal;
    private readonly EscapeKey? _escape;
    private readonly Thread _writer;
    private bool _isInputHalted = true;
    private long _sent;
    private long _written;

    /// <summary>Begins to write; reads from <see cref="ContinueInput"/> on.</summary>
    /// <param name="source">Standard input.</param>
    /// <param name="target">Standard output.</param>
    /// <param name="terminal">The terminal that standard input is, if it is one: it has a key to end the VMM.</param>
    /// <param name="end">Called when that key was pressed.</param>
    public GuestConsole(StandardInput source, Stream target, RawTerminal? terminal, Action end)
    {
        _source = source;
        _target = target;
        _terminal = terminal;
        _escape = terminal is null ? null : new EscapeKey(end);
        _writer = Start("console output", WriteOutput);
        _ = Start("console input", ReadInput);
    }

    /// <summary>Raised on a thread of the console's own when there is something to take.</summary>
    public event Action? InputArrived;

    /// <summary>Whether something waits for the guest.</summary>
    public bool HasInput => !_input.IsEmpty;

    /// <summary>Takes the next byte for the guest.</summary>
    /// <param name="next">The byte.</param>
    /// <returns>Whether there was one.</returns>
    public bool TryTake(out byte next) => _input.TryTake(out next);

    /// <summary>Copies what waits for the guest.</summary>
    /// <returns>The bytes.</returns>
    public byte[] WaitingInput() => _input.ToArray();

    /// <summary>Puts input before what waits for the guest.</summary>
    /// <param name="input">The bytes; what does not fit in before is dropped.</param>
    public void Restore(ReadOnlySpan<byte> input) => _input.Prepend(input);

    /// <summary>Sends a byte of the guest's to the host; waits while the host's reader is slow.</summary>
    /// <param name="value">The byte.</param>
    public void Send(byte value)
    {
        _ = Interlocked.Increment(ref _sent);
        _output.Add([value]);
    }

    /// <summary>Reads what is typed, from the beginning or after <see cref="HaltInput"/>.</summary>
    public void ContinueInput()
    {
        lock (_reading)
        {
            _isInputHalted = false;
            Monitor.PulseAll(_reading);
        }
    }

    /// <summary>Reads nothing more: what was read waits for the guest, and the rest is another process's.</summary>
    public void HaltInput()
    {
        lock (_reading)
        {
            _isInputHalted = true;
        }
    }

    /// <summary>Waits until the host's reader has what the guest has sent, unless it is slow.</summary>
    public void FlushOutput() => _ = SpinWait.SpinUntil(
        () => Interlocked.Read(ref _written) == Interlocked.Read(ref _sent) || !_writer.IsAlive, Patience);

    /// <summary>Lets vCPUs no longer wait for a reader; what does not fit is dropped.</summary>
    public void StopWaiting() => _output.Close();

    /// <summary>Writes what is left and gives the terminal back.</summary>
    public void Dispose()
    {
        _output.Close();
        _input.Close();
        _ = _writer.Join(Patience);
        _terminal?.Dispose();
    }

    private static Thread Start(string name, ThreadStart work)
    {
        Thread thread = new(work) { Name = name, IsBackground = true };
        thread.Start();
        return thread;
    }

    private void ReadInput()
    {
        Span<byte> buffer = stackalloc byte[InputCapacity];
        try
        {
            while (_input.WaitForRoom() > 0)
            {
                _source.WaitUntilReadable(Timeout.InfiniteTimeSpan);
                if (!TryReadInput(buffer))
                {
                    return;
                }

                InputArrived?.Invoke();
            }
        }
        catch (Exception end) when (end is IOException or ObjectDisposedException)
        {
            // The other side has closed the line, or the VMM ends: from now on nobody types.
        }
    }

    /// <summary>Reads what there is, unless input is halted: nothing is on its way then.</summary>
    /// <returns><see langword="false"/> at the end of the input.</returns>
    private bool TryReadInput(Span<byte> buffer)
    {
        lock (_reading)
        {
            while (_isInputHalted)
            {
                _ = Monitor.Wait(_reading);
            }

            // Another process may have read it meanwhile, or the VM's earlier input may have taken the room.
            int room = _input.WaitForRoom();
            if (room == 0 || !_source.WaitUntilReadable(TimeSpan.Zero))
            {
                return true;
            }

            int length = _source.Read(buffer[..int.Min(room, buffer.Length)]);
            if (length == 0)
            {
                return false;
            }

            length = _escape?.Filter(buffer[..length]) ?? length;
            _input.Add(buffer[..length]);
            return true;
        }
    }

    private void WriteOutput()
    {
        byte[] buffer = new byte[OutputCapacity];
        try
        {
            int length;
            while ((length = _output.WaitAndTake(buffer)) > 0)
            {
                _target.Write(buffer, 0, length);
                _target.Flush();
                _ = Interlocked.Add(ref _written, length);
            }
        }
        catch (IOException)
        {
            // The output was closed; the guest continues.
            _output.Close();
        }
    }
}
