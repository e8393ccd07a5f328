using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Linux.LinuxTee;

namespace OpTeeMediator.Tests.Linux;

/// <summary>A TEE driver in place of the host's, with memory that it really shares: it keeps mappings of its own of the
/// pages it is given.</summary>
internal sealed class FakeTeeDevice : ITeeDevice
{
    private readonly ConcurrentDictionary<int, FakeRegistration> _registrations = new();
    private int _lastId;
    private uint _lastSession = 100;

    /// <summary>What TEE_IOC_VERSION answers.</summary>
    internal TeeVersionData Version { get; set; } = new()
    {
        ImplementationId = TeeIoctl.ImplementationOpTee,
        ImplementationCapabilities = 1,
        GeneralCapabilities =
            TeeIoctl.GeneralGlobalPlatform | TeeIoctl.GeneralRegisterMemory | TeeIoctl.GeneralNullReference,
    };

    /// <summary>The text of the attribute "revision".</summary>
    internal string? Revision { get; set; }

    /// <summary>The error number of TEE_IOC_VERSION, TEE_IOC_OPEN_SESSION, TEE_IOC_INVOKE,
    /// TEE_IOC_SHM_REGISTER.</summary>
    internal int InvokeError { get; set; }

    /// <summary>The error number of a registration at an address; 0 lets it succeed.</summary>
    internal Func<nint, int> RegisterError { get; set; } = _ => 0;

    /// <summary>What an application does; it sets the return code.</summary>
    internal TeeInvocation OnInvoke { get; set; } = (ref _) => { };

    internal Func<TeeOpenSessionArgument, TeeReturnCode> OnOpenSession { get; set; } = _ => TeeReturnCode.Success;

    /// <summary>What TEE_IOC_CANCEL does.</summary>
    internal Action<uint, uint> OnCancel { get; set; } = (_, _) => { };

    internal ConcurrentQueue<TeeOpenSessionArgument> Openings { get; } = new();

    internal ConcurrentQueue<TeeInvokeArgument> Invocations { get; } = new();

    internal ConcurrentQueue<uint> Closings { get; } = new();

    internal ConcurrentQueue<(uint Session, uint CancelId)> Cancellations { get; } = new();

    internal bool IsDisposed { get; private set; }

    internal int LiveRegistrations => _registrations.Count;

    /// <summary>Whether calls are noted; off where allocations are measured.</summary>
    internal bool IsRecording { get; set; } = true;

    public void Dispose() => IsDisposed = true;

    public int GetVersion(out TeeVersionData version)
    {
        version = Version;
        return 0;
    }

    public string? ReadRevision() => Revision;

    public int OpenSession(ref TeeOpenSessionArgument argument)
    {
        Openings.Enqueue(argument);
        argument.ReturnCode = (uint)OnOpenSession(argument);
        argument.ReturnOrigin = (uint)TeeOrigin.TrustedApplication;
        argument.Session = ++_lastSession;
        return 0;
    }

    public int Invoke(ref TeeInvokeArgument argument)
    {
        if (IsRecording)
        {
            Invocations.Enqueue(argument);
        }

        argument.ReturnOrigin = (uint)TeeOrigin.TrustedApplication;
        OnInvoke(ref argument);
        return InvokeError;
    }

    public int Cancel(uint session, uint cancelId)
    {
        Cancellations.Enqueue((session, cancelId));
        OnCancel(session, cancelId);
        return 0;
    }

    public int CloseSession(uint session)
    {
        Closings.Enqueue(session);
        return 0;
    }

    public int RegisterMemory(nint address, nuint length, out SafeHandle? registration, out int id)
    {
        id = -1;
        registration = null;
        int error = RegisterError(address);
        if (error != 0)
        {
            return error;
        }

        id = Interlocked.Increment(ref _lastId);
        int key = id;
        FakeRegistration made = FakeRegistration.Pin(address, length, () => _registrations.TryRemove(key, out _));
        _registrations[id] = made;
        registration = made;
        return 0;
    }

    /// <summary>The bytes that a parameter refers to, as the TEE sees them: the very pages
    /// that were registered.</summary>
    internal Span<byte> MemoryOf(in TeeIoctlParameter parameter) =>
        _registrations[(int)parameter.C].Bytes.Slice((int)parameter.A, (int)parameter.B);

    /// <summary>An application that fills its first parameter, and says so.</summary>
    internal void FillFirst(ref TeeInvokeArgument argument) => MemoryOf(in argument.Parameters[0]).Fill(0xa5);
}
