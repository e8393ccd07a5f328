using System.Diagnostics;
using OpTeeMediator.Machines.Partitioned;
using OpTeeMediator.Machines.Xtest;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.MachineTests;

/// <summary>A VM whose driver starts again and again, beside Linux in another one; OP-TEE is the real one built
/// for virtualization.</summary>
/// <remarks>OP-TEE 4.10 halts after 37 to 50 destroyed VMs, because it never frees their translation tables.</remarks>
[TestFixture]
internal sealed class ForwarderRestartTests() : ForwarderFixture(new PartitionedMachineOptions { Cpus = 1 })
{
    private const ulong Cookie = 0xffff_0000_0938_5a80;

    // More than OP-TEE 4.10 survives if each destroys the VM.
    private static int Restarts => MachineFixture.IsFull ? 500 : 60;

    [Test]
    public async Task ExchangeCapabilities_ManyTimesWithARegisteredPage_LeavesOpTeeToOthers()
    {
        await using OtherVm other = new(Machine, OpTee);
        ulong page = other.Driver.AllocatePage();
        ulong list = other.Driver.WritePageList([page]);
        GuestMessage registration =
            new(OpTeeMessage.CommandRegisterSharedMemory, GuestParameter.PageList(list, 4096, Cookie));

        await RestartBesideLinuxAsync(other, _ => Assert.That(other.Driver.Send(registration).ReturnCode, Is.Zero));
    }

    [Test]
    public async Task ExchangeCapabilities_ManyTimesWithCallsSessionsAndBuffers_LeavesOpTeeToOthers()
    {
        await using OtherVm other = new(Machine, OpTee);
        ulong list = other.Driver.WritePageList(other.Pages);
        GuestMessage registration = new(OpTeeMessage.CommandRegisterSharedMemory,
            GuestParameter.PageList(list, (ulong)other.Pages.Length * 4096, Cookie));

        await RestartBesideLinuxAsync(other, round =>
        {
            Assert.That(other.Driver.Send(registration).ReturnCode, Is.Zero);
            uint session = other.OpenEnumeration();
            Assert.That(
                other.Driver.Invoke(session, 0, GuestParameter.RegisteredOut(0, 0x100, Cookie)).ReturnCode, Is.Zero);
            other.Driver.Conduit = round % 2 == 0 ? OpTeeSmc.CallWithRpcArgument : OpTeeSmc.CallWithArgument;
            SmcRegisters suspended = other.Driver.Start(OtherVm.Opening);
            for (int step = 0; step < round % 4; step++)
            {
                suspended = (uint)suspended.X0 == OpTeeSmc.ReturnOk ? suspended : other.Driver.Step(suspended);
            }

            other.Driver.Conduit = OpTeeSmc.CallWithRpcArgument;
        });
    }

    private async Task RestartBesideLinuxAsync(OtherVm other, Action<int> use)
    {
        int before = Monitor!.Calls.Count;
        Task<XtestRun> linux = XtestRun.RunAsync(Machine.Console, TimeSpan.FromMinutes(5), "1004", "1006");
        List<double> milliseconds = [];
        int delays = 0;
        for (int round = 0; round < Restarts; round++)
        {
            use(round);
            int interrupts = other.Driver.ForeignInterrupts;
            long start = Stopwatch.GetTimestamp();
            Assert.That(other.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk),
                $"restart {round}");
            Assert.That(other.OpenEnumeration(), Is.Not.Zero);
            milliseconds.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
            delays += other.Driver.ForeignInterrupts - interrupts;
            if (linux.IsCompleted)
            {
                Assert.That((await linux).Failures, Is.Empty);
                linux = XtestRun.RunAsync(Machine.Console, TimeSpan.FromMinutes(5), "1004", "1006");
            }
        }

        XtestRun run = await linux;
        milliseconds.Sort();
        SmcRegisters revision = other.Driver.Call(OpTeeSmc.GetOsRevision);
        TestContext.Out.WriteLine(
            $"OP-TEE {revision.X0}.{revision.X1}: {Restarts} restarts, each with a session opened after it: "
            + $"median {milliseconds[Restarts / 2]:F1} ms, longest {milliseconds[^1]:F1} ms; "
            + $"{delays} interrupts\n{run}");
        Assert.That(run.Failures, Is.Empty, run.ToString());
        Assert.That(run.Cases, Has.Count.EqualTo(2));
        Assert.That(Monitor.Calls.Skip(before).Count(call => call.Made.X0 == OpTeeSmc.VmDestroyed), Is.Zero);
        Assert.That(other.Forwarder.Status, Is.EqualTo(new OpTeeGuestStatus(0, 1, 0, 0)), "The last session");
        Assert.That(other.Memory.Pins, Is.Zero);
    }
}
