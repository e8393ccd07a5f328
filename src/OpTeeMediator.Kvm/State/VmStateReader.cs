using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm.State;

/// <summary>Reads the state of a VM that <see cref="VmStateWriter"/> has written.</summary>
/// <remarks>
/// <para>What it hands out has been checked, but the end may still be missing: nothing of the restored VM runs before
/// <see cref="Complete"/>, and when anything here throws, the VM is disposed of.</para>
/// <para>Without a key the state is whatever somebody has written into the file. Not thread-safe.</para>
/// </remarks>
[Experimental("OPTEE001")]
public sealed class VmStateReader : IDisposable
{
    private readonly ChunkProtection _protection;
    private readonly ChunkReader _chunks;
    private SectionReadStream? _section;

    /// <summary>Begins to read a state, and checks whose it is.</summary>
    /// <param name="source">Where it is read from; stays open.</param>
    /// <param name="options">Whose state is expected, and its key.</param>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">The key has another size.</exception>
    /// <exception cref="InvalidDataException">It is no state, one of another version, or of another VM; or it is not
    /// encrypted though there is a key, or the reverse.</exception>
    public VmStateReader(Stream source, VmStateOptions options)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        byte[] header = new byte[StateHeader.Size];
        ChunkReader.ReadExactly(source, header);
        StateHeader.Check(header, options);
        _protection = StateHeader.ProtectionFor(header, options);
        _chunks = new ChunkReader(source, _protection);
    }

    /// <summary>Goes to the next section, which must have this name.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>Its content, up to its end; must be read whole before the next one.</returns>
    /// <exception cref="ArgumentException">The name does not have four ASCII characters.</exception>
    /// <exception cref="InvalidDataException">The next section is another one, the one before has more content, or the
    /// state is cut off or changed.</exception>
    public Stream OpenSection(string name)
    {
        byte[] expected = SectionName.Encode(name);
        EndSection();
        byte[] found = new byte[SectionName.Size];
        _chunks.Read(found);
        return found.AsSpan().SequenceEqual(expected)
            ? _section = new SectionReadStream(_chunks)
            : throw new InvalidDataException(
                $"The saved state has the section '{SectionName.Show(found)}'; expected '{name}'.");
    }

    /// <summary>Checks that the state ends here: nothing is missing, and nothing is left.</summary>
    /// <exception cref="InvalidDataException">The state is cut off or changed, or has more content.</exception>
    public void Complete()
    {
        EndSection();
        if (!_chunks.IsAtEnd)
        {
            throw new InvalidDataException("The saved state has more sections than expected.");
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _protection.Dispose();

    private void EndSection()
    {
        if (_section is { IsAtEnd: false })
        {
            throw new InvalidDataException("A section of the saved state has more content than expected.");
        }

        _section = null;
    }
}
