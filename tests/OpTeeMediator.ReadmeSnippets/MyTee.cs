using OpTeeMediator.Backends;

namespace OpTeeMediator.ReadmeSnippets;

// <snippet>
internal sealed class MyTee : ITeeBackend, ITeePartition, ITeeSession
{
    public static readonly Guid Uuid = new("0b2b8c1e-31a3-4a57-9a25-6f1f5b0f7f10");

    public ITeePartition CreatePartition(TeeVirtualMachine virtualMachine) => this; // nothing to keep apart here

    public ValueTask<TeeResult> OpenSessionAsync(TeeRequest request)
    {
        if (request.Application != Uuid)
        {
            return new(TeeResult.FromTee(TeeReturnCode.ItemNotFound));
        }

        request.Session = this;
        return new(TeeResult.Success);
    }

    public ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request)
    {
        TeeParameter factors = request.Parameters[0];
        if (request.CommandId != 0 || factors.Kind != TeeParameterKind.ValueInOut)
        {
            return new(TeeResult.FromTee(TeeReturnCode.BadParameters));
        }

        request.SetValue(0, unchecked(factors.A * factors.B), 0);
        return new(TeeResult.Success);
    }
}
// </snippet>
