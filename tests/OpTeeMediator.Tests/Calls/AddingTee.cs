using OpTeeMediator.Backends;

namespace OpTeeMediator.Tests.Calls;

/// <summary>The smallest TEE: every application adds two numbers.</summary>
internal sealed class AddingTee : ITeeBackend, ITeePartition, ITeeSession
{
    public TeeAccess DefaultAccess => TeeAccess.All;

    public ITeePartition CreatePartition(TeeVirtualMachine virtualMachine) => this;

    public ValueTask<TeeResult> OpenSessionAsync(TeeRequest request)
    {
        request.Session = this;
        return new(TeeResult.Success);
    }

    public ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request)
    {
        request.SetValue(0, request.Parameters[0].A + request.Parameters[0].B, 0);
        return new(TeeResult.Success);
    }
}
