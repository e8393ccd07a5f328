using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>The buffers of one operation's four parameters.</summary>
[InlineArray(TeeRequest.ParameterCount)]
internal struct HostBuffers
{
    private HostBuffer? _element0;
}
