using OpTeeMediator.KvmChecks;
using OpTeeMediator.Kvm.SystemCalls;

// usage: kvm-checks NAME: runs a check on an arm64 machine with KVM; the exit status is 0 if it passes.
if (args.Length != 1 || !Checks.All.TryGetValue(args[0], out Action? check))
{
    await Console.Error.WriteLineAsync($"Expected one of: {string.Join(", ", Checks.All.Keys)}.");
    return 2;
}

try
{
    check();
    Console.WriteLine($"{args[0]} passed");
    return 0;
}
catch (Exception exception) when (
    exception is CheckFailedException or SystemCallException or NotSupportedException or ArgumentException)
{
    Console.WriteLine($"{args[0]} failed: {exception.Message}");
    return 1;
}
