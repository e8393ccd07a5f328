using OpTeeMediator.Backends;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.State;

/// <summary>Notes which buffers a TEE has, and what it was told that cannot be.</summary>
internal sealed class RegistrationLog
{
    /// <summary>What the TEE that was created last has.</summary>
    public HashSet<TeeSharedMemory> Registered { get; private set; } = [];

    public List<string> Faults { get; } = [];

    public ScriptedBackend CreateTee()
    {
        HashSet<TeeSharedMemory> registered = [];
        Registered = registered;
        return new ScriptedBackend
        {
            OnRegister = memory =>
            {
                if (!registered.Add(memory))
                {
                    Faults.Add($"A buffer of {memory.Size} bytes was registered twice.");
                }

                return TeeReturnCode.Success;
            },
            OnUnregister = memory =>
            {
                if (!registered.Remove(memory))
                {
                    Faults.Add($"A buffer of {memory.Size} bytes was unregistered that the TEE does not have.");
                }

                return ValueTask.CompletedTask;
            },
        };
    }
}
