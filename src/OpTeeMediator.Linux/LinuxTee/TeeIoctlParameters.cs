using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>The four parameters after an argument's header.</summary>
[InlineArray(TeeRequest.ParameterCount)]
internal struct TeeIoctlParameters
{
    private TeeIoctlParameter _element0;
}
