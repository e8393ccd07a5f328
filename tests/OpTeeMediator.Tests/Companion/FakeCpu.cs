using System.Collections.Concurrent;
using System.Text;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Companion;

/// <summary>A core on which an OP-TEE of a few lines runs: what it does is the test's choice.</summary>
internal sealed class FakeCpu : ICompanionCpu
{
    /// <summary>Where the fake's vectors are.</summary>
    public const ulong Vectors = 0x0e10_1000;

    /// <summary>Where the code is that tells the frequency of the counter.</summary>
    public const ulong FrequencyCode = 0x0d1f_f000;

    private const ulong Frequency = 1_000_000;
    private const uint Smc = 1;

    private readonly ConcurrentDictionary<ulong, ulong> _registers = new();
    private readonly SemaphoreSlim _kicked = new(0);

    /// <summary>What OP-TEE does when it is entered: the SMC that it makes.</summary>
    public Func<FakeCpu, KvmExitReason> Program { get; set; } = Serve;

    /// <summary>The answer to a guest's call: X1–X4.</summary>
    public ulong[] Answer { get; set; } = [0, 0, 0, 0];

    public int Runs { get; private set; }

    public int Kicks { get; private set; }

    /// <summary>The registers written since the test has cleared this.</summary>
    public List<Arm64Register> Written { get; } = [];

    /// <summary>The registers read since the test has cleared this.</summary>
    public List<Arm64Register> Read { get; } = [];

    /// <summary>Where it was entered, in order.</summary>
    public List<ulong> Entries { get; } = [];

    public KvmHypercallExit Hypercall { get; set; }

    public GuestAddress MmioAddress { get; set; }

    public KvmMmioExit Mmio => new(MmioAddress.Value, isWrite: false, new byte[4]);

    public ulong this[Arm64Register register]
    {
        get => _registers.GetValueOrDefault(register.Id);
        set => _registers[register.Id] = value;
    }

    /// <summary>Answers everything as a healthy OP-TEE does.</summary>
    public static KvmExitReason Serve(FakeCpu cpu) => cpu[Arm64Register.Pc] switch
    {
        Vectors or Vectors + 4 => cpu.Call(0xbe00_0005, cpu.Answer),
        Vectors + 8 => cpu.Call(0xbe00_0001),
        Vectors + 24 => cpu.Call(0xbe00_0006),
        FrequencyCode => cpu.Call(0xbe00_ffff, Frequency),
        _ => cpu.Call(0xbe00_0000, Vectors),
    };

    /// <summary>Never comes back, as one that has panicked.</summary>
    public static KvmExitReason Hang(FakeCpu cpu)
    {
        cpu._kicked.Wait();
        return KvmExitReason.Interrupted;
    }

    public KvmExitReason Call(uint functionId, params ulong[] results)
    {
        Hypercall = new KvmHypercallExit(functionId, Smc);
        for (int index = 0; index < results.Length; index++)
        {
            this[Arm64Register.X(index + 1)] = results[index];
        }

        return KvmExitReason.Hypercall;
    }

    /// <summary>Writes the registers that have a value: their number, then each one's number and value.</summary>
    public void Save(Stream target)
    {
        using BinaryWriter writer = new(target, Encoding.UTF8, leaveOpen: true);
        writer.Write(_registers.Count);
        foreach ((ulong id, ulong value) in _registers)
        {
            writer.Write(id);
            writer.Write(value);
        }
    }

    public void Restore(Stream source)
    {
        using BinaryReader reader = new(source, Encoding.UTF8, leaveOpen: true);
        _registers.Clear();
        for (int left = reader.ReadInt32(); left > 0; left--)
        {
            _registers[reader.ReadUInt64()] = reader.ReadUInt64();
        }
    }

    public ulong Get(Arm64Register register)
    {
        Read.Add(register);
        return this[register];
    }

    public void Set(Arm64Register register, ulong value)
    {
        Written.Add(register);
        this[register] = value;
    }

    public KvmExitReason Run()
    {
        Runs++;
        Entries.Add(this[Arm64Register.Pc]);
        return Program(this);
    }

    public void Kick()
    {
        Kicks++;
        _ = _kicked.Release();
    }
}
