using OpTeeMediator.Linux.Guests;

namespace OpTeeMediator.Tests.Linux;

/// <summary>Registers in place of a vCPU's, with a trace of every access.</summary>
internal readonly struct FakeRegisterFile(ulong[] registers) : IRegisterFile
{
    internal List<string> Trace { get; } = [];

    internal ulong this[int index] => registers[index];

    public ulong Read(int index)
    {
        Trace.Add($"read X{index}");
        return registers[index];
    }

    public void MoveBack(int length) => Trace.Add($"move back {length}");

    public void Write(int index, ulong value)
    {
        Trace.Add($"write X{index}");
        registers[index] = value;
    }
}
