using OpTeeMediator.Fuzzing.Engine;
using OpTeeMediator.Fuzzing.Targets;

namespace OpTeeMediator.Fuzzing;

/// <summary>The targets, by the names that <c>tests/fuzz/run</c> and the corpus have for them.</summary>
public static class FuzzTargets
{
    private static readonly SortedDictionary<string, Func<FuzzTarget>> Factories = new(StringComparer.Ordinal)
    {
        ["connection"] = static () => new ConnectionTarget(),
        ["conversation"] = static () => new ConversationTarget(),
        ["device-tree"] = static () => new DeviceTreeTarget(),
        ["forwarder"] = static () => new ForwarderTarget(),
        ["frame"] = static () => new FrameTarget(),
        ["guest-files"] = static () => new GuestFilesTarget(),
        ["image"] = static () => new ImageTarget(),
        ["message"] = static () => new MessageTarget(),
        ["page-list"] = static () => new PageListTarget(),
        ["rpc-answer"] = static () => new RpcAnswerTarget(),
        ["state"] = static () => new StateTarget(),
        ["stored-record"] = static () => new StoredRecordTarget(),
        ["vm-state"] = static () => new VmStateTarget(),
    };

    public static IReadOnlyCollection<string> Names => Factories.Keys;

    public static FuzzTarget Create(string name) => Factories[name]();
}
