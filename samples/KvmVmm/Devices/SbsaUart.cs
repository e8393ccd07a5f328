using KvmVmm.HostConsole;
using OpTeeMediator.Memory;

namespace KvmVmm.Devices;

/// <summary>
/// The guest's serial port: the part of Arm's PL011 that the Server Base System Architecture calls its generic UART.
/// </summary>
/// <remarks>
/// Output is written at once, so that there is always room. Input waits in the host, so that nothing is lost without a
/// driver; the interrupt is active while input waits. Source: Arm SBSA, appendix
/// "Generic UART", and the PL011's Technical Reference Manual (DDI 0183).
/// </remarks>
internal sealed class SbsaUart : IMmioDevice, IDisposable
{
    private const ulong Data = 0x00;
    private const ulong Flags = 0x18;
    private const ulong InterruptMask = 0x38;
    private const ulong RawInterrupts = 0x3c;
    private const ulong MaskedInterrupts = 0x40;
    private const ulong InterruptClear = 0x44;

    private const ulong FlagReceiveEmpty = 1 << 4;
    private const ulong FlagTransmitEmpty = 1 << 7;

    private const uint Received = 1 << 4;
    private const uint Transmitted = 1 << 5;
    private const uint ReceiveTimeout = 1 << 6;
    private const uint AllInterrupts = 0x7ff;

    private readonly GuestConsole _console;
    private readonly InterruptLine _interrupt;
    private readonly Lock _gate = new();
    private uint _mask;
    private uint _transmitted;
    private bool _isDisposed;

    /// <summary>Plugs a UART in.</summary>
    /// <param name="range">Its addresses.</param>
    /// <param name="console">What it is connected to.</param>
    /// <param name="interrupt">Its interrupt.</param>
    public SbsaUart(GuestRange range, GuestConsole console, InterruptLine interrupt)
    {
        Range = range;
        _console = console;
        _interrupt = interrupt;
        _console.InputArrived += Update;
    }

    /// <inheritdoc/>
    public GuestRange Range { get; }

    private uint Raw => _transmitted | (_console.HasInput ? Received | ReceiveTimeout : 0);

    /// <inheritdoc/>
    public ulong Read(ulong offset)
    {
        lock (_gate)
        {
            switch (offset)
            {
                case Data:
                    byte next = _console.TryTake(out byte taken) ? taken : (byte)0;
                    UpdateLocked();
                    return next;
                case Flags:
                    return FlagTransmitEmpty | (_console.HasInput ? 0 : FlagReceiveEmpty);
                case InterruptMask:
                    return _mask;
                case RawInterrupts:
                    return Raw;
                case MaskedInterrupts:
                    return Raw & _mask;
                default:
                    return 0;
            }
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ulong value)
    {
        if (offset == Data)
        {
            // Outside the lock: it waits while the host's reader is slow.
            _console.Send((byte)value);
        }

        lock (_gate)
        {
            switch (offset)
            {
                case Data:
                    _transmitted = Transmitted;
                    break;
                case InterruptMask:
                    _mask = (uint)value & AllInterrupts;
                    break;
                case InterruptClear:
                    _transmitted &= ~(uint)value;
                    break;
                default:
                    return;
            }

            UpdateLocked();
        }
    }

    /// <summary>Writes its registers, and the input that waits for the guest.</summary>
    public void Save(BinaryWriter writer)
    {
        lock (_gate)
        {
            writer.Write(_mask);
            writer.Write(_transmitted);
            byte[] input = _console.WaitingInput();
            writer.Write(input.Length);
            writer.Write(input);
        }
    }

    /// <summary>Restores what was saved; the GIC's state comes first.</summary>
    /// <exception cref="InvalidDataException">It makes no sense.</exception>
    public void Restore(BinaryReader reader)
    {
        uint mask = reader.ReadUInt32();
        uint transmitted = reader.ReadUInt32();
        int length = reader.ReadInt32();
        if ((mask & ~AllInterrupts) != 0 || (transmitted & ~Transmitted) != 0
            || length is < 0 or > GuestConsole.InputCapacity)
        {
            throw new InvalidDataException("The saved state of the serial port makes no sense.");
        }

        byte[] input = new byte[length];
        reader.BaseStream.ReadExactly(input);
        _console.Restore(input);
        lock (_gate)
        {
            (_mask, _transmitted) = (mask, transmitted);
            _interrupt.Restore((Raw & _mask) != 0);
        }
    }

    /// <summary>Unplugs it; its interrupt's VM may go.</summary>
    public void Dispose()
    {
        _console.InputArrived -= Update;
        lock (_gate)
        {
            _isDisposed = true;
        }
    }

    private void Update()
    {
        lock (_gate)
        {
            UpdateLocked();
        }
    }

    private void UpdateLocked()
    {
        if (!_isDisposed)
        {
            _interrupt.Set((Raw & _mask) != 0);
        }
    }
}
