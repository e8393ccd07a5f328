using OpTeeMediator.Smccc;

namespace OpTeeMediator.Machines.Partitioned;

/// <summary>A CPU of the guest, and the thread that answers its calls.</summary>
internal sealed class StubCpu : IDisposable
{
    private const uint SystemOff = 0x8400_0008;
    private const uint SystemReset = 0x8400_0009;

    [ThreadStatic]
    private static StubCpu? t_current;

    private readonly FileStream _out;
    private readonly FileStream _in;
    private readonly Thread _thread;
    private readonly ISmcHandler _handler;
    private readonly Action _onOff;
    private readonly Action<Exception> _onFailure;

    /// <param name="folder">Where the FIFOs are.</param>
    /// <param name="number">The CPU's number.</param>
    /// <param name="handler">Who answers its calls of a trusted OS.</param>
    /// <param name="onOff">Called when the guest switches itself off.</param>
    /// <param name="onFailure">Called when the thread ends otherwise than by <see cref="Dispose"/>.</param>
    public StubCpu(string folder, int number, ISmcHandler handler, Action onOff, Action<Exception> onFailure)
    {
        // Opened for both directions, so that opening waits for nobody and ending needs nobody.
        _out = Open(Path.Combine(folder, $"cpu{number}.out"));
        _in = Open(Path.Combine(folder, $"cpu{number}.in"));
        _handler = handler;
        _onOff = onOff;
        _onFailure = onFailure;
        _thread = new Thread(Run) { IsBackground = true, Name = $"vCPU {number}" };
        _thread.Start();
    }

    /// <summary>The CPU whose call this thread answers.</summary>
    public static StubCpu? Current => t_current;

    /// <summary>Has the CPU make an SMC; from within its call only.</summary>
    public void MakeCall(ref SmcRegisters registers)
    {
        Send(new StubMessage(StubMessage.MakeCall, registers));
        StubMessage answer = Receive();
        if (answer.Operation != StubMessage.CallDone)
        {
            throw new InvalidOperationException($"The stub answered {answer.Operation} to an order to make a call.");
        }

        answer.CopyTo(ref registers);
    }

    public void Dispose()
    {
        StubMessage end = new(StubMessage.End);
        _out.Write(StubMessage.BytesOf(ref end));
        _thread.Join();
        _out.Dispose();
        _in.Dispose();
    }

    private static FileStream Open(string path) =>
        new(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);

    private void Run()
    {
        t_current = this;
        try
        {
            while (true)
            {
                StubMessage message = Receive();
                if (message.Operation == StubMessage.End)
                {
                    return;
                }

                SmcRegisters registers = default;
                message.CopyTo(ref registers);
                if (registers.FunctionId.Value is SystemOff or SystemReset)
                {
                    Send(new StubMessage(StubMessage.Stop));
                    _onOff();
                    continue;
                }

                _ = _handler.Handle(ref registers);
                Send(new StubMessage(StubMessage.Return, registers));
            }
        }
        catch (Exception exception)
        {
            _onFailure(exception);
        }
    }

    private void Send(StubMessage message) => _in.Write(StubMessage.BytesOf(ref message));

    private StubMessage Receive()
    {
        StubMessage message = default;
        _out.ReadExactly(StubMessage.BytesOf(ref message));
        return message;
    }
}
