using Iced.Intel;
using OpTeeMediator.Memory;

namespace MinimalVmm.Machine;

/// <summary>A machine with one vCPU in 64-bit mode, addresses being those of its RAM.</summary>
internal interface IMachine : IDisposable
{
    /// <summary>Where the guest runs, for people: "in …", "on …".</summary>
    string Description { get; }

    /// <summary>The guest's memory.</summary>
    IGuestMemory Memory { get; }

    /// <summary>A general register of the vCPU, <see cref="Register.RAX"/> to <see cref="Register.R15"/>, while it does not run.</summary>
    ref ulong this[Register register] { get; }

    /// <summary>Sets the vCPU to begin at an address, with a stack that grows downwards from the same address.</summary>
    void Start(ulong address);

    /// <summary>Runs the vCPU until the guest rings a doorbell.</summary>
    /// <exception cref="GuestStoppedException">The guest stopped in another way.</exception>
    Doorbell Run();
}
