using OpTeeMediator.Backends;
using OpTeeMediator.Remote;
using OpTeeMediator.Testing;

namespace OpTeeMediator.RemoteTests;

/// <summary>What a VM does with the applications of the sample daemon.</summary>
internal static class DaemonClient
{
    /// <summary>The command of the application <see cref="Objects"/> that reads an object.</summary>
    public const uint Read = 0;

    /// <summary>The one that writes an object.</summary>
    public const uint Write = 1;

    /// <summary>KvmVmm's application that adds.</summary>
    public static Guid Sum { get; } = new("3c2f1b0e-5a4d-4f6e-8b7c-9d0e1f2a3b4c");

    /// <summary>The example application that keeps objects: secure_storage.</summary>
    public static Guid Objects { get; } = new("f4e750bb-1437-4fbf-8785-8d3580c34994");

    /// <summary>Connects a VM, as soon as the daemon listens.</summary>
    /// <param name="path">The daemon's socket.</param>
    /// <param name="isRunning">Whether it makes sense to wait for it.</param>
    /// <param name="name">The VM's name.</param>
    /// <param name="identity">Its durable identity.</param>
    public static RemoteVm Connect(string path, Func<bool> isRunning, string name, Guid identity)
    {
        RemoteTeeOptions options = new() { SocketPath = path, HandshakeTimeout = TimeSpan.FromMinutes(1) };
        RemoteVm? vm = null;
        Waiting.Until(() => TryConnect(), "The connection to the daemon");
        return vm!;

        // The socket is there a moment before it listens.
        bool TryConnect()
        {
            try
            {
                vm = new RemoteVm(options, name, identity);
                return true;
            }
            catch (TeeUnavailableException) when (isRunning())
            {
                return false;
            }
        }
    }

    /// <summary>Opens a session, as soon as the VMM has reached the daemon.</summary>
    public static uint Open(RemoteVm vm, Guid application)
    {
        GuestMessage? answer = null;
        Waiting.Until(
            () => (answer = vm.Driver.OpenSession(application)).ReturnCode == 0, "The opening of a session");
        return answer!.Session;
    }

    /// <summary>Reads or writes an object. The first byte of the buffer that the VM has registered as 0x55 is the
    /// object's name, the second its content.</summary>
    public static GuestMessage InvokeObjects(RemoteVm vm, uint session, uint command) => vm.Driver.Invoke(
        session,
        command,
        GuestParameter.RegisteredIn(0, 1, 0x55),
        command == Write ? GuestParameter.RegisteredIn(1, 1, 0x55) : GuestParameter.RegisteredOut(1, 1, 0x55));

    /// <summary>The application adds for the VM.</summary>
    public static void AssertAdds(RemoteVm vm)
    {
        GuestMessage answer = vm.Driver.Invoke(Open(vm, Sum), 0, GuestParameter.ValueInOut(20, 22));

        Assert.That((answer.ReturnCode, answer.Parameters[0].A), Is.EqualTo((0u, 42ul)));
    }
}
