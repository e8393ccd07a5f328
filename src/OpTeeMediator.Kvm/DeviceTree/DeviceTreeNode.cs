using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm.DeviceTree;

/// <summary>A node of a <see cref="DeviceTreeWriter"/> that is open for properties and nodes.</summary>
[Experimental("OPTEE001")]
public readonly ref struct DeviceTreeNode
{
    private readonly DeviceTreeWriter _writer;

    internal DeviceTreeNode(DeviceTreeWriter writer) => _writer = writer;

    /// <summary>Ends the node. To be called once.</summary>
    public void Dispose() => _writer.EndNode();
}
