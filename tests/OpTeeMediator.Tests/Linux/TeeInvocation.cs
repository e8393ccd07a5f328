using OpTeeMediator.Linux.LinuxTee;

namespace OpTeeMediator.Tests.Linux;

/// <summary>What a trusted application of <see cref="FakeTeeDevice"/> does.</summary>
internal delegate void TeeInvocation(ref TeeInvokeArgument argument);
