using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Benchmarks.Scenarios;

/// <summary>REGISTER_SHM of scattered pages and UNREGISTER_SHM, among other registered buffers.</summary>
public sealed class RegisterAndUnregister : Scenario
{
    private const ulong Cookie = 0xffff_0000_2000_0000;

    private readonly Bench _bench = new(new ScriptedBackend(), 1);
    private readonly SmcRegisters _register;
    private readonly SmcRegisters _unregister;

    public RegisterAndUnregister(int pages, int others)
    {
        FakeDriver driver = _bench.Drivers[0];
        for (int index = 0; index < others; index++)
        {
            _ = driver.Register([driver.AllocatePage()], 0, OpTeeMessage.PageSize,
                0xffff_0000_1000_0000 + ((ulong)index * 0x60));
        }

        ulong list = driver.WritePageList(driver.AllocatePages(pages, 2));
        ulong message = driver.AllocatePage();
        driver.WriteMessage(
            message,
            new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory,
                GuestParameter.PageList(list, (ulong)pages * OpTeeMessage.PageSize, Cookie)));
        _register = Bench.Registers(OpTeeSmc.CallWithRpcArgument, message, 0);
        message = driver.AllocatePage();
        driver.WriteMessage(
            message, new GuestMessage(OpTeeMessage.CommandUnregisterSharedMemory,
                GuestParameter.RegisteredIn(0, 0, Cookie)));
        _unregister = Bench.Registers(OpTeeSmc.CallWithRpcArgument, message, 0);
        Run(1);
        int? held = _bench.Guest.Status.Buffers;
        Bench.Call(_bench.Guest, _register);
        if (_bench.Guest.Status.Buffers != held + 1)
        {
            throw new InvalidOperationException("The benchmark's buffer was not registered.");
        }

        Bench.Call(_bench.Guest, _unregister);
    }

    public override void Run(int operations)
    {
        for (int count = 0; count < operations; count++)
        {
            Bench.Call(_bench.Guest, _register);
            Bench.Call(_bench.Guest, _unregister);
        }
    }

    protected override void Dispose(bool disposing)
    {
        _bench.Dispose();
        base.Dispose(disposing);
    }
}
