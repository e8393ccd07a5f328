using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Linux.Diagnostics;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>One VM's client of the host's TEE: an open file of its own, so that the driver keeps its sessions and
/// memory apart from all others'. A reset does nothing: what applications keep is the host's.</summary>
internal sealed class LinuxTeePartition : ITeePartition
{
    /// <summary>TEE_IOCTL_LOGIN_REE_KERNEL_MIN and _MAX, which the driver refuses to user space with EPERM.</summary>
    internal const uint FirstKernelLogin = 0x8000_0000;

    internal const uint LastKernelLogin = 0xbfff_ffff;

    private readonly HostTee _tee;
    private readonly ITeeDevice _device;
    private readonly TeeVirtualMachine _virtualMachine;
    private readonly LinuxTeeLogin _login;
    private readonly PinBudget _budget;
    private readonly RunningCalls _running;
    private readonly ILogger _logger;
    private readonly LogRateLimit _failures = new();
    private int _isDisposed;

    /// <summary>Owns the device from now on; if this constructor throws, the caller closes it.</summary>
    internal LinuxTeePartition(
        ITeeDevice device, TeeVirtualMachine virtualMachine, LinuxTeeLogin login, PinBudget budget,
        Action<Thread> start)
    {
        _device = device;
        _virtualMachine = virtualMachine;
        _login = login;
        _budget = budget;
        _logger = NonThrowingLogger.CreateForVm<LinuxTeeBackend>(virtualMachine.LoggerFactory);
        _tee = new HostTee(device, budget, virtualMachine.Name, _logger);
        _running = new RunningCalls(device, virtualMachine.ConcurrentCalls, virtualMachine.Name, _logger, start);
        try
        {
            Revision = HostRevision.Parse(device.ReadRevision());
            Devices = HostDevices.Query(_tee, virtualMachine.Access);
            _logger.PartitionCreated(virtualMachine.Name, Devices?.Count ?? 0);
        }
        catch
        {
            _running.Dispose();
            throw;
        }
    }

    public IReadOnlyList<TeeDevice>? Devices { get; }

    public OpTeeRevision? Revision { get; }

    public ValueTask<TeeResult> OpenSessionAsync(TeeRequest request) => new(OpenSession(request));

    public ValueTask<TeeReturnCode> RegisterMemoryAsync(TeeSharedMemory memory)
    {
        if (memory.Size == 0)
        {
            // The kernel registers no memory of size 0; references to it are passed on as NULL.
            return new ValueTask<TeeReturnCode>(TeeReturnCode.Success);
        }

        TeeReturnCode code = HostBuffer.TryShare(_tee, memory, out HostBuffer? buffer);
        memory.BackendState = buffer;
        return new ValueTask<TeeReturnCode>(code);
    }

    public ValueTask UnregisterMemoryAsync(TeeSharedMemory memory)
    {
        (memory.BackendState as HostBuffer)?.Dispose();
        memory.BackendState = null;
        return ValueTask.CompletedTask;
    }

    /// <remarks>A session that is being opened cannot be cancelled: the driver does not know it yet.</remarks>
    public void Cancel(TeeRequest request) => _running.Cancel(request);

    public ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) == 0)
        {
            try
            {
                if (_budget.Registrations != 0)
                {
                    _logger.RegistrationsLeft(_virtualMachine.Name, _budget.Registrations);
                }

                _running.Dispose();
            }
            finally
            {
                // The driver closes what sessions are left with the file.
                _device.Dispose();
            }
        }

        return ValueTask.CompletedTask;
    }

    internal TeeResult Invoke(TeeRequest request, uint session)
    {
        RunningCall? call = _running.Enter(request, session);
        ParameterExchange exchange = default;
        try
        {
            // Asked for after Enter: a cancellation that comes later finds the call.
            if (request.IsCancellationRequested)
            {
                return HostResult.Of(TeeReturnCode.Cancel);
            }

            TeeInvokeArgument argument = default;
            argument.Function = request.CommandId;
            argument.Session = session;
            argument.CancelId = call?.CancelId ?? 0;
            TeeReturnCode code = exchange.Prepare(request.Parameters, argument.Parameters, _tee);
            if (code != TeeReturnCode.Success)
            {
                return HostResult.Of(code);
            }

            int error = _device.Invoke(ref argument);
            if (error != 0)
            {
                return Failed("TEE_IOC_INVOKE", error);
            }

            exchange.Finish(request, argument.Parameters);
            return new TeeResult((TeeReturnCode)argument.ReturnCode, (TeeOrigin)argument.ReturnOrigin);
        }
        finally
        {
            exchange.Dispose();
            call?.Leave();
        }
    }

    internal void CloseSession(uint session)
    {
        int error = _device.CloseSession(session);
        if (error != 0)
        {
            _ = Failed("TEE_IOC_CLOSE_SESSION", error);
        }
    }

    private TeeResult OpenSession(TeeRequest request)
    {
        if (!_virtualMachine.Access.Allows(request.Application))
        {
            return TeeResult.FromTee(TeeReturnCode.ItemNotFound);
        }

        if (!TryChooseLogin(request.Client.Login, out TeeLogin login))
        {
            _logger.KernelLoginRefused(_virtualMachine.Name, request.Application);
            return HostResult.Of(TeeReturnCode.AccessDenied);
        }

        if (request.IsCancellationRequested)
        {
            return HostResult.Of(TeeReturnCode.Cancel);
        }

        TeeOpenSessionArgument argument = default;
        argument.Application = TeeUuid.From(request.Application);
        argument.ClientLogin = login;
        ParameterExchange exchange = default;
        try
        {
            TeeReturnCode code = exchange.Prepare(request.Parameters, argument.Parameters, _tee);
            if (code != TeeReturnCode.Success)
            {
                return HostResult.Of(code);
            }

            int error = _device.OpenSession(ref argument);
            if (error != 0)
            {
                return Failed("TEE_IOC_OPEN_SESSION", error);
            }

            TeeResult result = new((TeeReturnCode)argument.ReturnCode, (TeeOrigin)argument.ReturnOrigin);
            try
            {
                exchange.Finish(request, argument.Parameters);
            }
            catch when (result.IsSuccess)
            {
                // The VMM's guest memory has thrown: the guest never learns of this session.
                CloseSession(argument.Session);
                throw;
            }

            request.Session = result.IsSuccess ? new LinuxTeeSession(this, argument.Session) : null;
            return result;
        }
        finally
        {
            exchange.Dispose();
        }
    }

    private bool TryChooseLogin(TeeLogin claimed, out TeeLogin login)
    {
        bool isKernel = (uint)claimed is >= FirstKernelLogin and <= LastKernelLogin;
        login = _login == LinuxTeeLogin.VmmUser && !isKernel && claimed != TeeLogin.Public
            ? TeeLogin.User
            : TeeLogin.Public;
        return !isKernel || _login == LinuxTeeLogin.PublicForKernelToo;
    }

    private TeeResult Failed(string operation, int error)
    {
        TeeResult result = HostResult.Of(error, out bool isExpected);
        if (isExpected)
        {
            _logger.CallRefused(_virtualMachine.Name, operation, new ErrorName(error));
        }
        else if (_failures.TryPass(out long suppressed))
        {
            _logger.CallFailed(_virtualMachine.Name, operation, new ErrorName(error), suppressed);
        }

        return result;
    }
}
