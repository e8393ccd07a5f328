namespace OpTeeMediator.Protocol;

/// <summary>The device-tree node that makes a guest look for OP-TEE, as data for the VMM to write out.</summary>
/// <remarks>
/// <code>
/// /firmware/optee {
///     compatible = "linaro,optee-tz";
///     method = "smc";
///     interrupts = &lt;GIC_SPI n IRQ_TYPE_EDGE_RISING&gt;;   // only with asynchronous notifications
/// };
/// </code>
/// Without it no guest driver probes. Source: Linux's binding <c>arm/firmware/linaro,optee-tz.yaml</c>.
/// Immutable, hence thread-safe.
/// </remarks>
public sealed record OpTeeDeviceTreeNode
{
    /// <summary>The name of the node that contains this one.</summary>
    public static string ParentName => "firmware";

    /// <summary>The node's name.</summary>
    public static string Name => "optee";

    /// <summary>The property <c>compatible</c>.</summary>
    public static string Compatible => "linaro,optee-tz";

    /// <summary>The property <c>method</c>: the instruction by which the guest calls.</summary>
    public static string Method => "smc";

    /// <summary>The SPI of the property <c>interrupts</c>, cells &lt;0 n 1&gt; (shared, number, rising edge);
    /// <see langword="null"/> if the property is to be left out.</summary>
    public int? Spi { get; init; }
}
