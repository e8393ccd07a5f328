using System.ComponentModel;
using System.Diagnostics;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.FirmwareTpm;

/// <summary>Starts swtpm for VMs: one process each, with a folder and a key of its own. Thread-safe.</summary>
internal sealed class EngineLauncher
{
    /// <summary>The length of swtpm's AES-256 key.</summary>
    public const int KeyLength = 32;

    // Of sockaddr_un, without the final zero.
    private const int MaximumSocketPath = 107;

    private const string VolatileState = "tpm2-00.volatilestate";

    private const UnixFileMode OwnerOnly =
        UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    private readonly FirmwareTpmOptions _options;
    private readonly bool _hasSeccomp;
    private readonly ConditionalWeakTable<TeeVirtualMachine, TpmTroubles> _troubles = [];

    /// <summary>Checks the options and the host's swtpm.</summary>
    public EngineLauncher(FirmwareTpmOptions options)
    {
        _options = options;
        string longest = Path.Combine(Path.GetFullPath(options.Directory), Guid.Empty.ToString("D"), SocketName('c'));
        if (longest.Length > MaximumSocketPath)
        {
            throw new ArgumentException(
                $"The sockets of swtpm would have paths of {longest.Length} characters, and {MaximumSocketPath} are "
                + $"allowed; give {nameof(FirmwareTpmOptions)}.{nameof(FirmwareTpmOptions.Directory)} a shorter path "
                + $"than {options.Directory}.",
                nameof(options));
        }

        string features = ReadFeatures(options.Executable);
        foreach (string needed in (string[])["tpm-2.0", "cmdarg-key-fd"])
        {
            if (!features.Contains($"\"{needed}\"", StringComparison.Ordinal))
            {
                throw new TeeUnavailableException(
                    $"{options.Executable} lacks the feature {needed}; install swtpm 0.7 or newer. It has said: "
                    + features);
            }
        }

        _hasSeccomp = features.Contains("\"cmdarg-seccomp\"", StringComparison.Ordinal);
    }

    /// <summary>What goes wrong with the TPM of a VM.</summary>
    public TpmTroubles TroublesOf(TeeVirtualMachine virtualMachine) => _troubles.GetValue(
        virtualMachine,
        static machine => new TpmTroubles(
            machine.LoggerFactory.CreateLogger<EngineLauncher>(), machine.Name));

    /// <summary>Gets the state of a running TPM.</summary>
    /// <exception cref="EngineException">It cannot be saved.</exception>
    public async Task<TpmBlobs> SaveAsync(TpmEngine engine)
    {
        using CancellationTokenSource deadline = new(_options.StartTimeout);
        try
        {
            return await engine.SaveAsync(deadline.Token);
        }
        catch (OperationCanceledException exception)
        {
            throw new EngineException($"swtpm has not given its state after {_options.StartTimeout}.", exception);
        }
        catch (SocketException exception)
        {
            throw new EngineException($"swtpm is gone: {exception.Message}.", exception);
        }
    }

    /// <summary>Starts the TPM of a VM, reset as at power on, or where a saved one was.</summary>
    /// <param name="virtualMachine">The VM.</param>
    /// <param name="key">Encrypts the TPM's state.</param>
    /// <param name="saved">The state of the saved one; none to reset it.</param>
    /// <exception cref="EngineException">It did not start; no process is left.</exception>
    public async Task<TpmEngine> StartAsync(
        TeeVirtualMachine virtualMachine, ReadOnlyMemory<byte> key, TpmBlobs? saved = null)
    {
        string directory =
            Path.Combine(Path.GetFullPath(_options.Directory), virtualMachine.Identity.ToString("D"));
        string control = SocketName('c');
        string data = SocketName('d');
        await MakeDirectoryAsync(directory);

        // swtpm writes it for a moment when the VM is saved. Left by a crash, it would bring back the PCRs of an
        // earlier start of the VM.
        string left = Path.Combine(directory, VolatileState);
        TryDelete(left);
        if (File.Exists(left))
        {
            throw new EngineException($"{left}, of an earlier start, cannot be deleted.");
        }

        ReplacedState replaced = new(directory, GiveToUserAsync);
        Process process = StartProcess(directory, control, data);
        TpmEngine engine = new(process, _options.CommandTimeout);
        using CancellationTokenSource deadline = new(_options.StartTimeout);
        try
        {
            await process.StandardInput.BaseStream.WriteAsync(key, deadline.Token);
            process.StandardInput.Close();
            await engine.ConnectAsync(Path.Combine(directory, control), Path.Combine(directory, data), deadline.Token);
            await (saved is null
                ? engine.InitializeAsync(deadline.Token)
                : engine.RestoreAsync(saved, replaced, deadline.Token));
            return engine;
        }
        catch (Exception exception)
        {
            string found = exception is OperationCanceledException
                ? $"was not ready after {_options.StartTimeout}"
                : $"did not start: {exception.Message}";
            await engine.AbortAsync();
            replaced.Discard();
            throw new EngineException($"swtpm in {directory} {found}. Its output: {engine.Output}", exception);
        }
        finally
        {
            // Connected sockets need no names.
            TryDelete(Path.Combine(directory, control));
            TryDelete(Path.Combine(directory, data));
        }
    }

    private static string ReadFeatures(string executable)
    {
        ProcessStartInfo start = new(executable, ["socket", "--tpm2", "--print-capabilities"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        try
        {
            using Process process = Process.Start(start)!;
            Task<string> errors = process.StandardError.ReadToEndAsync();
            string features = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0
                ? features.Trim()
                : throw new TeeUnavailableException(
                    $"{executable} has ended with status {process.ExitCode} when asked for its features: "
                    + errors.GetAwaiter().GetResult().Trim());
        }
        catch (Win32Exception exception)
        {
            throw new TeeUnavailableException(
                $"{executable} cannot be run ({exception.Message}); the firmware TPM needs swtpm 0.7 or newer on the "
                + $"host (Debian: apt-get install swtpm), or its path as {nameof(FirmwareTpmOptions.Executable)}.",
                exception);
        }
    }

    // Random, so that what a killed VMM has left is in nobody's way.
    private static string SocketName(char kind) =>
        $"{kind}{RandomNumberGenerator.GetHexString(8, lowercase: true)}.sock";

    private static void TryDelete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // swtpm removes it when it ends.
        }
    }

    private async Task MakeDirectoryAsync(string directory)
    {
        try
        {
            _ = OperatingSystem.IsWindows()
                ? Directory.CreateDirectory(directory)
                : Directory.CreateDirectory(directory, OwnerOnly);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new EngineException($"its folder cannot be made: {exception.Message}", exception);
        }

        await GiveToUserAsync(directory);
    }

    private async Task GiveToUserAsync(string path)
    {
        if (_options.User is not { } user)
        {
            return;
        }

        using Process process = Process.Start("chown", ["--", user, path]);
        await process.WaitForExitAsync();
        if (process.ExitCode != 0)
        {
            throw new EngineException(
                $"{path} cannot be given to the user {user}: the VMM must be root and the user exist, "
                + $"or {nameof(FirmwareTpmOptions)}.{nameof(FirmwareTpmOptions.User)} be left out.");
        }
    }

    private Process StartProcess(string directory, string control, string data)
    {
        ProcessStartInfo start = new(_options.Executable)
        {
            // Options of swtpm are separated by commas, which a path may have.
            WorkingDirectory = directory,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            ArgumentList =
            {
                "socket",
                "--tpm2",

                // Ends with its VMM, however that ends.
                "--terminate",
                "--tpmstate", "dir=.,mode=0600",
                "--ctrl", $"type=unixio,path={control},mode=0600",
                "--server", $"type=unixio,path={data},mode=0600",

                // Standard input: neither a file nor the list of processes has the key.
                "--key", "fd=0,format=binary,mode=aes-256-cbc",
            },
        };
        if (_hasSeccomp)
        {
            start.ArgumentList.Add("--seccomp");
            start.ArgumentList.Add("action=kill");
        }

        if (_options.User is { } user)
        {
            start.ArgumentList.Add("--runas");
            start.ArgumentList.Add(user);
        }

        try
        {
            return Process.Start(start)!;
        }
        catch (Win32Exception exception)
        {
            throw new EngineException($"{_options.Executable} cannot be run: {exception.Message}.", exception);
        }
    }
}
