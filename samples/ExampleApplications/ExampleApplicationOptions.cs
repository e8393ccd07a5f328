using OpTeeMediator.SoftwareTee;

namespace ExampleApplications;

/// <summary>Adds the example applications to a software TEE.</summary>
public static class ExampleApplicationOptions
{
    /// <summary>A list of them.</summary>
    public static string Description { get; } = string.Join(
        '\n',
        $"{HelloWorldApplication.Manifest.Uuid}  OP-TEE's example hello_world",
        $"{RandomApplication.Manifest.Uuid}  OP-TEE's example random",
        $"{HotpApplication.Manifest.Uuid}  OP-TEE's example hotp",
        $"{AesApplication.Manifest.Uuid}  OP-TEE's example aes",
        $"{AcipherApplication.Manifest.Uuid}  OP-TEE's example acipher, without OAEP with SHA-224",
        $"{SecureStorageApplication.Manifest.Uuid}  OP-TEE's example secure_storage; only with a store",
        $"{CallerApplication.Manifest.Uuid}  calls hello_world (0) and random (1)");

    /// <summary>Adds all of them.</summary>
    /// <param name="options">The options of the TEE.</param>
    /// <returns>Options with the applications.</returns>
    public static SoftwareTeeOptions AddExampleApplications(this SoftwareTeeOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        return options
            .Add(HelloWorldApplication.Manifest, () => new HelloWorldApplication())
            .Add(RandomApplication.Manifest, () => new RandomApplication())
            .Add(HotpApplication.Manifest, () => new HotpApplication())
            .Add(AesApplication.Manifest, () => new AesApplication())
            .Add(AcipherApplication.Manifest, () => new AcipherApplication())
            .Add(SecureStorageApplication.Manifest, () => new SecureStorageApplication())
            .Add(CallerApplication.Manifest, () => new CallerApplication());
    }
}
