using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;

namespace OpTeeMediator.Tests.Linux;

/// <summary>Compares the product's constants and layouts with the kernel's real headers, by compiling C that
/// asserts they are equal.</summary>
internal sealed class CHeaders
{
    private readonly string _compiler;
    private readonly IReadOnlyList<string> _options;
    private readonly StringBuilder _source = new();

    private CHeaders(string compiler, IReadOnlyList<string> options)
    {
        _compiler = compiler;
        _options = options;
        _ = _source.AppendLine("#define _GNU_SOURCE").AppendLine("#include <stddef.h>");
    }

    /// <summary>The headers of this machine's architecture (Debian: linux-libc-dev).</summary>
    internal static CHeaders OfHost() => new(Existing("gcc"), []);

    /// <summary>The newest arm64 headers around: those that the project's emulated machines keep in the cache, or
    /// the cross compiler's.</summary>
    internal static CHeaders OfArm64()
    {
        string cache = Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } path
            ? path
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache");
        string packages = Path.Combine(cache, "opteemediator");
        string? include = Directory.Exists(packages)
            ? Directory.EnumerateDirectories(packages, "packages-trixie-*")
                .Select(directory => Path.Combine(directory, "root", "usr", "include"))
                .FirstOrDefault(directory => File.Exists(Path.Combine(directory, "aarch64-linux-gnu", "asm", "kvm.h")))
            : null;
        return new CHeaders(
            Existing("aarch64-linux-gnu-gcc"),
            include is null ? [] : ["-isystem", Path.Combine(include, "aarch64-linux-gnu"), "-isystem", include]);
    }

    internal CHeaders Include(string header)
    {
        _ = _source.AppendLine(CultureInfo.InvariantCulture, $"#include <{header}>");
        return this;
    }

    /// <summary>Asserts that a C expression has the product's value.</summary>
    internal CHeaders Expect(string expression, ulong value)
    {
        _ = _source.AppendLine(CultureInfo.InvariantCulture,
            $"_Static_assert((unsigned long long)({expression}) == {value}ull, \"{expression} is {value} in C#\");");
        return this;
    }

    /// <summary>The same where headers that are too old to know a symbol are passed over.</summary>
    internal CHeaders ExpectIfDefined(string macro, string expression, ulong value)
    {
        _ = _source.AppendLine(CultureInfo.InvariantCulture, $"#ifdef {macro}");
        _ = Expect(expression, value);
        _ = _source.AppendLine("#endif");
        return this;
    }

    /// <summary>Asserts that a structure has the product's size.</summary>
    internal CHeaders ExpectSize<T>(string structure)
        where T : unmanaged => Expect($"sizeof({structure})", (ulong)Unsafe.SizeOf<T>());

    /// <summary>Asserts that a member of a structure has the product's offset.</summary>
    internal CHeaders ExpectOffset<TStructure, TField>(
        string structure, string member, ref readonly TStructure instance, ref readonly TField field)
        where TStructure : unmanaged
        where TField : unmanaged =>
        Expect(
            $"offsetof({structure}, {member})",
            (ulong)Unsafe.ByteOffset(ref Unsafe.As<TStructure, byte>(ref Unsafe.AsRef(in instance)),
                ref Unsafe.As<TField, byte>(ref Unsafe.AsRef(in field))));

    /// <summary>Compiles.</summary>
    /// <returns>What the compiler complains about; empty if everything is equal.</returns>
    internal string Compile()
    {
        ProcessStartInfo start = new(_compiler) { RedirectStandardInput = true, RedirectStandardError = true };
        foreach (string option in (string[])["-fsyntax-only", "-Wall", "-x", "c", .. _options, "-"])
        {
            start.ArgumentList.Add(option);
        }

        using Process process = Process.Start(start)!;
        process.StandardInput.Write(_source);
        process.StandardInput.Close();
        string complaints = process.StandardError.ReadToEnd();
        process.WaitForExit();
        return complaints;
    }

    private static string Existing(string compiler)
    {
        string[] directories = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator);
        if (!directories.Any(directory => File.Exists(Path.Combine(directory, compiler))))
        {
            Assert.Ignore(
                $"{compiler} is not installed; layouts and constants are not compared with the kernel's headers.");
        }

        return compiler;
    }
}
