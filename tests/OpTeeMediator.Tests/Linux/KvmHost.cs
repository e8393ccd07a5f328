using System.Runtime.InteropServices;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Tests.Linux;

/// <summary>The KVM of the machine the tests run on, if it has one.</summary>
internal static class KvmHost
{
    /// <summary>Opens it, or ignores the test and says why.</summary>
    internal static KvmSystem OpenX86()
    {
        RequireX86();
        try
        {
            return KvmSystem.Open();
        }
        catch (SystemCallException exception)
        {
            Assert.Ignore(exception.Message);
            throw;
        }
    }

    /// <summary>Ignores the test on another architecture.</summary>
    internal static void RequireX86()
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            Assert.Ignore($"This is about x86-64, this machine is {RuntimeInformation.ProcessArchitecture}.");
        }
    }
}
