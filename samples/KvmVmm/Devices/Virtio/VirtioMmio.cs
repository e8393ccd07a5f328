using System.Buffers.Binary;
using OpTeeMediator.Memory;

namespace KvmVmm.Devices.Virtio;

/// <summary>The registers of a virtio device with one queue (VIRTIO 1.2, 4.2 "Virtio Over MMIO", version 2).</summary>
/// <remarks>A thread of its own serves the queue, so that no vCPU waits for the device.</remarks>
internal sealed class VirtioMmio : IMmioDevice, IDisposable
{
    private const ulong Magic = 0x000;
    private const ulong Version = 0x004;
    private const ulong DeviceId = 0x008;
    private const ulong VendorId = 0x00c;
    private const ulong DeviceFeatures = 0x010;
    private const ulong DeviceFeaturesSelector = 0x014;
    private const ulong DriverFeatures = 0x020;
    private const ulong DriverFeaturesSelector = 0x024;
    private const ulong QueueSelector = 0x030;
    private const ulong QueueSizeMaximum = 0x034;
    private const ulong QueueSize = 0x038;
    private const ulong QueueReady = 0x044;
    private const ulong QueueNotify = 0x050;
    private const ulong InterruptStatus = 0x060;
    private const ulong InterruptAcknowledge = 0x064;
    private const ulong Status = 0x070;
    private const ulong QueueDescriptors = 0x080;
    private const ulong QueueAvailable = 0x090;
    private const ulong QueueUsed = 0x0a0;
    private const ulong Configuration = 0x100;

    private const uint MagicValue = 0x7472_6976;
    private const uint Vendor = 0x5445_454f;
    private const ulong FeatureVersion1 = 1ul << 32;
    private const uint UsedBuffer = 1;
    private const uint DriverReady = 4;
    private const uint NeedsReset = 64;

    private readonly IVirtioDevice _device;
    private readonly Action<bool> _setInterrupt;
    private readonly VirtioQueue _queue;

    // The registers; and the queue, whose thread takes this one first.
    private readonly Lock _registers = new();
    private readonly Lock _serving = new();
    private readonly AutoResetEvent _notified = new(false);
    private readonly Thread _thread;
    private volatile bool _isDisposed;
    private bool _isHalted;
    private uint _featuresSelector;
    private uint _driverFeaturesSelector;
    private ulong _driverFeatures;
    private uint _queueSelector;
    private uint _status;
    private uint _interruptStatus;

    /// <summary>Plugs a device in.</summary>
    /// <param name="range">The addresses of its registers.</param>
    /// <param name="device">The device.</param>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="setInterrupt">Raises and lowers its interrupt. Called by one thread at a time.</param>
    public VirtioMmio(GuestRange range, IVirtioDevice device, IGuestMemory memory, Action<bool> setInterrupt)
    {
        Range = range;
        _device = device;
        _setInterrupt = setInterrupt;
        _queue = new VirtioQueue(memory);
        _thread = new Thread(ServeQueue) { IsBackground = true, Name = "virtio" };
        _thread.Start();
    }

    /// <inheritdoc/>
    public GuestRange Range { get; }

    private ulong OfferedFeatures => _device.Features | FeatureVersion1;

    /// <inheritdoc/>
    public ulong Read(ulong offset)
    {
        if (offset >= Configuration)
        {
            return ReadConfiguration((int)(offset - Configuration));
        }

        lock (_registers)
        {
            return offset switch
            {
                Magic => MagicValue,
                Version => 2,
                DeviceId => _device.Id,
                VendorId => Vendor,
                DeviceFeatures => _featuresSelector < 2 ? (uint)(OfferedFeatures >> (int)(32 * _featuresSelector)) : 0,
                QueueSizeMaximum => _queueSelector == 0 ? (ulong)VirtioQueue.MaximumSize : 0,
                QueueReady => _queueSelector == 0 && _queue.IsReady ? 1u : 0,
                InterruptStatus => _interruptStatus,
                Status => _status,
                _ => 0,
            };
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ulong value)
    {
        uint word = (uint)value;
        if (offset == QueueNotify)
        {
            _ = _notified.Set();
            return;
        }

        if (offset == Status && word == 0)
        {
            Reset();
            return;
        }

        lock (_registers)
        {
            switch (offset)
            {
                case DeviceFeaturesSelector:
                    _featuresSelector = word;
                    break;
                case DriverFeaturesSelector:
                    _driverFeaturesSelector = word;
                    break;
                case DriverFeatures when _driverFeaturesSelector < 2:
                    SetHalf(ref _driverFeatures, _driverFeaturesSelector == 1, word);
                    break;
                case QueueSelector:
                    _queueSelector = word;
                    break;
                case InterruptAcknowledge:
                    _interruptStatus &= ~word;
                    _setInterrupt(_interruptStatus != 0);
                    break;
                case Status:
                    SetStatus(word);
                    break;
                default:
                    SetUpQueue(offset, word);
                    break;
            }
        }
    }

    /// <summary>Whether its interrupt is raised.</summary>
    public bool IsInterrupting
    {
        get
        {
            lock (_registers)
            {
                return _interruptStatus != 0;
            }
        }
    }

    /// <summary>Serves nothing more, and has served what it had begun; the rest stays in the queue.</summary>
    public void Halt()
    {
        lock (_serving)
        {
            _isHalted = true;
        }
    }

    /// <summary>Serves again, first what is in the queue.</summary>
    public void Continue()
    {
        lock (_serving)
        {
            _isHalted = false;
        }

        _ = _notified.Set();
    }

    /// <summary>Writes its state while it is halted.</summary>
    public void Save(BinaryWriter writer)
    {
        lock (_serving)
        {
            lock (_registers)
            {
                writer.Write(_featuresSelector);
                writer.Write(_driverFeaturesSelector);
                writer.Write(_driverFeatures);
                writer.Write(_queueSelector);
                writer.Write(_status);
                writer.Write(_interruptStatus);
                _queue.Save(writer);
            }
        }
    }

    /// <summary>Restores what was saved; the GIC's state comes first.</summary>
    /// <exception cref="InvalidDataException">It makes no sense.</exception>
    public void Restore(BinaryReader reader)
    {
        lock (_serving)
        {
            lock (_registers)
            {
                (_featuresSelector, _driverFeaturesSelector) = (reader.ReadUInt32(), reader.ReadUInt32());
                _driverFeatures = reader.ReadUInt64();
                (_queueSelector, _status, _interruptStatus) =
                    (reader.ReadUInt32(), reader.ReadUInt32(), reader.ReadUInt32());
                _queue.Restore(reader);
                if ((_driverFeatures & ~OfferedFeatures) != 0)
                {
                    throw new InvalidDataException("The saved state has features that this disk does not have.");
                }
            }
        }
    }

    /// <summary>Unplugs it; its interrupt's VM and its memory may go.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        _ = _notified.Set();
        _thread.Join();
        _notified.Dispose();
    }

    private ulong ReadConfiguration(int offset)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        bytes.Clear();
        ReadOnlySpan<byte> all = _device.Configuration;
        if (offset < all.Length)
        {
            all[offset..Math.Min(all.Length, offset + bytes.Length)].CopyTo(bytes);
        }

        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    private void SetStatus(uint status)
    {
        const uint FeaturesOk = 8;
        bool isAgreed = (_driverFeatures & ~OfferedFeatures) == 0 && (_driverFeatures & FeatureVersion1) != 0;
        _status = isAgreed ? status : status & ~FeaturesOk;
    }

    // Only before the queue is ready: its thread reads these without the lock afterwards.
    private void SetUpQueue(ulong offset, uint word)
    {
        if (_queueSelector != 0 || _queue.IsReady)
        {
            return;
        }

        switch (offset)
        {
            case QueueSize:
                _queue.Size = word is > 0 and <= VirtioQueue.MaximumSize && uint.IsPow2(word) ? (int)word : 0;
                break;
            case QueueReady:
                _queue.IsReady = word == 1 && _queue.Size > 0;
                break;
            case QueueDescriptors or QueueDescriptors + 4:
                _queue.Descriptors = WithHalf(_queue.Descriptors, offset != QueueDescriptors, word);
                break;
            case QueueAvailable or QueueAvailable + 4:
                _queue.Available = WithHalf(_queue.Available, offset != QueueAvailable, word);
                break;
            case QueueUsed or QueueUsed + 4:
                _queue.Used = WithHalf(_queue.Used, offset != QueueUsed, word);
                break;
            default:
                break;
        }
    }

    private void Reset()
    {
        lock (_serving)
        {
            lock (_registers)
            {
                _queue.Reset();
                (_featuresSelector, _driverFeaturesSelector, _driverFeatures) = (0, 0, 0);
                (_queueSelector, _status, _interruptStatus) = (0, 0, 0);
                _setInterrupt(false);
            }
        }
    }

    private void ServeQueue()
    {
        while (true)
        {
            _ = _notified.WaitOne();
            if (_isDisposed)
            {
                return;
            }

            while (!_isDisposed && ServeOne())
            {
            }
        }
    }

    private bool ServeOne()
    {
        lock (_serving)
        {
            bool isRunning;
            lock (_registers)
            {
                isRunning = !_isHalted && (_status & (DriverReady | NeedsReset)) == DriverReady;
            }

            bool isServed = false;
            if (isRunning && _queue.TryTake(out ushort head, out ReadOnlySpan<VirtioSegment> segments))
            {
                _queue.Return(head, _device.Serve(segments));
                isServed = true;
            }

            lock (_registers)
            {
                _status |= _queue.IsBroken ? NeedsReset : 0;
                if (isServed && !_queue.IsBroken && _queue.WantsInterrupt)
                {
                    _interruptStatus |= UsedBuffer;
                    _setInterrupt(true);
                }
            }

            return isServed;
        }
    }

    private static ulong WithHalf(ulong number, bool isHigh, uint half) => isHigh
        ? (number & uint.MaxValue) | ((ulong)half << 32)
        : (number & ~(ulong)uint.MaxValue) | half;

    private static void SetHalf(ref ulong number, bool isHigh, uint half) => number = WithHalf(number, isHigh, half);
}
