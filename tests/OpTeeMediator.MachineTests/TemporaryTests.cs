
using OpTeeMediator.Machines.Partitioned;
namespace OpTeeMediator.MachineTests;
[TestFixture]
internal sealed class TemporaryTests() : ForwarderFixture(new PartitionedMachineOptions { Cpus = 1 })
{
    [Test]
    public async Task Look()
    {
        TestContext.Out.WriteLine(await Machine.RunAsync("ls -la /sys/bus/tee/devices /dev/hwrng /sys/class/misc; modprobe optee-rng; lsmod; cat /sys/class/misc/hw_random/rng_available; (head -c 16 /dev/hwrng | wc -c) > /tmp/o 2>&1 & sleep 2; cat /tmp/o; for p in $(pidof head); do cat /proc/$p/wchan /proc/$p/stack; done; dmesg | tail -5"));
    }
}
