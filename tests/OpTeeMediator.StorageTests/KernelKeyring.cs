using System.Runtime.InteropServices;

namespace OpTeeMediator.StorageTests;

/// <summary>Adds keys to the keyring of this thread's process, which ends with it.</summary>
internal static partial class KernelKeyring
{
    private const nint ProcessKeyring = -2;
    private const nint Revoke = 3;
    private const nint ChangeOwner = 4;
    private const nint SetPermissions = 5;

    private static readonly bool IsX64 = RuntimeInformation.ProcessArchitecture == Architecture.X64;

    /// <summary>Adds a key; where the kernel forbids it, the test is inconclusive, or fails if CI=true.</summary>
    public static nint Add(string name, byte[] key)
    {
        nint serial = AddKey(IsX64 ? 248 : 217, "user", name, key, key.Length, ProcessKeyring);
        if (serial < 0)
        {
            string message = $"Keys cannot be added to the kernel's keyrings: {Marshal.GetLastPInvokeErrorMessage()}";
            if (Environment.GetEnvironmentVariable("CI") == "true")
            {
                Assert.Fail(message);
            }

            Assert.Inconclusive(message);
        }

        return serial;
    }

    public static void RevokeKey(nint serial) => Control(Revoke, serial, 0, 0);

    public static void SetKeyPermissions(nint serial, uint permissions) =>
        Control(SetPermissions, serial, (nint)permissions, 0);

    public static void SetKeyOwner(nint serial, uint user) => Control(ChangeOwner, serial, (nint)user, -1);

    private static void Control(nint operation, nint serial, nint first, nint second) => Assert.That(
        (long)KeyControl(IsX64 ? 250 : 219, operation, serial, first, second),
        Is.Zero,
        Marshal.GetLastPInvokeErrorMessage);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint AddKey(
        nint number, string type, string description, byte[] payload, nint length, nint keyring);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint KeyControl(nint number, nint operation, nint serial, nint first, nint second);
}
