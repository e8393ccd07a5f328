using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.State;

#pragma warning disable OPTEE001 // experimental: the state may still change

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The guide's snippets about saving a VM with its TEE. They need KVM on arm64.</summary>
internal static class SavingWholeVm
{
    internal static async Task<bool> SaveAsync(
        OpTeeGuest optee, MappedGuestMemory memory, Arm64Gic gic, KvmVcpu[] vcpus, Stream file, Guid vm, byte[] key,
        Action stopVcpus, Action runVcpus)
    {
        // <snippet>
        await optee.DrainAsync();           // while the guest runs: operations end, new ones wait
        stopVcpus();                        // and KvmVcpu.CompleteExit for each
        var stopped = Arm64Counters.Read(vcpus[0]);    // the guest's time goes on from there
        if (!await optee.PauseAsync())
        {
            optee.Resume();                 // an application does not come to an end: the VM goes on
            runVcpus();
            return false;
        }

        using var state = new VmStateWriter(file, new() { VmIdentity = vm, Key = key });
        using (Stream section = state.BeginSection("MEMO"))
        {
            GuestMemoryState.Save(memory, section);
        }

        using (Stream section = state.BeginSection("TEE."))
        {
            section.Write(await optee.SaveAsync(new OpTeeStateOptions()));    // encrypted with the rest
        }

        using (Stream section = state.BeginSection("VCPU"))
        {
            Arm64VmState.Save(section, gic, stopped, vcpus);
        }

        state.Complete();
        await optee.AbandonAsync();         // it goes on elsewhere: applications are told of no end
        // </snippet>
        return true;
    }

    internal static async Task<OpTeeGuest> RestoreAsync(
        ITeeBackend tee, OpTeeGuestOptions options, MappedGuestMemory memory, Arm64Gic gic, KvmVcpu[] vcpus,
        Stream file, Guid vm, byte[] key, Action runVcpus)
    {
        // <snippet>
        using var state = new VmStateReader(file, new() { VmIdentity = vm, Key = key });
        GuestMemoryState.Restore(memory, state.OpenSection("MEMO"));
        var saved = new MemoryStream();
        await state.OpenSection("TEE.").CopyToAsync(saved);
        OpTeeGuest optee =
            await OpTeeGuest.RestoreAsync(memory, tee, options, saved.ToArray(), new OpTeeStateOptions());
        Arm64VmState.Restore(state.OpenSection("VCPU"), gic, vcpus);
        state.Complete();                   // throws unless all of it was there, unchanged: nothing has run so far
        optee.Resume();
        runVcpus();
        // </snippet>
        return optee;
    }
}
