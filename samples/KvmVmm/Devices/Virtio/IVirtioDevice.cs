namespace KvmVmm.Devices.Virtio;

/// <summary>What a virtio device is, behind its registers and its queue.</summary>
internal interface IVirtioDevice
{
    /// <summary>Its device ID.</summary>
    uint Id { get; }

    /// <summary>The features that it offers, without those of the transport.</summary>
    ulong Features { get; }

    /// <summary>Its configuration space.</summary>
    ReadOnlySpan<byte> Configuration { get; }

    /// <summary>Serves one request. Called by one thread at a time.</summary>
    /// <param name="segments">The request's guest memory.</param>
    /// <returns>How many bytes were written into it.</returns>
    uint Serve(ReadOnlySpan<VirtioSegment> segments);
}
