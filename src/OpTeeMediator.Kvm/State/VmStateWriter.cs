using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm.State;

/// <summary>Writes the state of a VM: named sections, encrypted and authenticated as a whole.</summary>
/// <remarks>
/// <code>
/// using VmStateWriter writer = new(file, options);
/// using (Stream section = writer.BeginSection("MEMO")) { … }
/// writer.Complete();
/// </code>
/// <para>The format is described in docs/save-restore.md. Not thread-safe.</para>
/// </remarks>
[Experimental("OPTEE001")]
public sealed class VmStateWriter : IDisposable
{
    private readonly ChunkProtection _protection;
    private readonly ChunkWriter _chunks;
    private bool _isInSection;
    private bool _isComplete;

    /// <summary>Begins a state.</summary>
    /// <param name="target">Where it is written; stays open.</param>
    /// <param name="options">Whose state it is, and its key.</param>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">The key has another size.</exception>
    public VmStateWriter(Stream target, VmStateOptions options)
    {
        ArgumentNullException.ThrowIfNull(target);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        byte[] header = StateHeader.Create(options);
        target.Write(header);
        _protection = StateHeader.ProtectionFor(header, options);
        _chunks = new ChunkWriter(target, _protection);
    }

    /// <summary>Begins a section.</summary>
    /// <param name="name">Its name: four ASCII characters.</param>
    /// <returns>What the section is written to; <see cref="Stream.Position"/> is how many bytes were. Its disposal ends
    /// the section; no other may begin before.</returns>
    /// <exception cref="ArgumentException">The name has another length.</exception>
    /// <exception cref="InvalidOperationException">Another section has not ended, or the state is complete.</exception>
    public Stream BeginSection(string name)
    {
        byte[] bytes = SectionName.Encode(name);
        if (_isInSection || _isComplete)
        {
            throw new InvalidOperationException("A section begins after the one before it has ended.");
        }

        _isInSection = true;
        _chunks.Write(bytes);
        return new SectionWriteStream(_chunks, () => _isInSection = false);
    }

    /// <summary>Writes what was given up to now, for a reader at the other end of a connection.</summary>
    /// <exception cref="InvalidOperationException">A section has not ended, or the state is complete.</exception>
    /// <remarks>Costs a chunk; <see cref="Complete"/> needs none before it.</remarks>
    public void Flush()
    {
        if (_isInSection || _isComplete)
        {
            throw new InvalidOperationException("A state is flushed between its sections.");
        }

        _chunks.Flush();
    }

    /// <summary>Ends the state: without it the state counts as cut off.</summary>
    /// <exception cref="InvalidOperationException">A section has not ended, or the state is complete.</exception>
    public void Complete()
    {
        if (_isInSection || _isComplete)
        {
            throw new InvalidOperationException("A state is completed once, after its last section has ended.");
        }

        _isComplete = true;
        _chunks.Complete();
    }

    /// <inheritdoc/>
    public void Dispose() => _protection.Dispose();
}
