using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Smccc;
using OpTeeMediator.Vmm;
using OpTeeVmm;

// The VM's RAM. If your VMM has mapped it already, describe it with MappedGuestMemory.
using var memory = MemfdGuestMemory.Create(new GuestRange(0x4000_0000, 64 << 20));

// The VM's OP-TEE, made before the guest's first instruction. The guest finds it by its node in the device tree:
// optee.DeviceTreeNode, and optee.ReservedMemory.
#if (IsRemote)
await using IGuestOpTee optee = GuestTee.Create(memory, socketPath: args is [var path] ? path : "/run/optee-tee.sock");
#else
await using IGuestOpTee optee = GuestTee.Create(memory);
#endif

// The vCPU that executes the guest, and whose SMCs the OP-TEE answers. Your hypervisor takes its place.
var vcpu = new VirtualCpu(new SmcRouter(optee));

// Stands for the guest: it does what a guest's driver and a client of libteec do.
var guest = new ExampleGuest(memory, vcpu);
Console.WriteLine($"The guest's trusted application says that 41 + 1 = {guest.Increment(41)}.");
