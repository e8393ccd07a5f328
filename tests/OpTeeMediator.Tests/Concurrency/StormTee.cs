using System.Buffers.Binary;
using System.Collections.Concurrent;
using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Concurrency;

/// <summary>A TEE whose commands do what their first parameter says, and that checks that everything it sees
/// is of its own call.</summary>
/// <remarks>Parameter 0: A the command's ticket, B its <see cref="StormScript"/>. Parameter 1: a buffer that begins
/// with its own cookie; B of parameter 2.</remarks>
internal sealed class StormTee
{
    /// <summary>What the guest adds to a ticket in its answer.</summary>
    public const ulong AnswerMark = 1UL << 40;

    private readonly ConcurrentQueue<string> _faults;
    private readonly ConcurrentDictionary<ulong, bool> _begun = new();
    private int _operations;
    private int _rpcs;

    public StormTee(TeeExecution execution, ConcurrentQueue<string> faults)
    {
        _faults = faults;
        Backend = new ScriptedBackend { Execution = execution, MemoryExecution = execution, OnInvoke = PerformAsync };
    }

    public ScriptedBackend Backend { get; }

    public int Operations => _operations;

    /// <summary>Calls to the guest that it has answered.</summary>
    public int Rpcs => _rpcs;

    public bool HasBegun(ulong ticket) => _begun.ContainsKey(ticket);

    private async ValueTask<TeeResult> PerformAsync(TeeRequest request)
    {
        ulong ticket = request.Parameters[0].A;
        StormScript script = (StormScript)request.Parameters[0].B;
        Expect(_begun.TryAdd(ticket, true), "a command was performed twice");
        CheckBuffer(request);
        bool isGone = false;
        if ((script & StormScript.Memory) != 0)
        {
            isGone = await UseMemoryAsync(request.Guest!, (script & StormScript.Keep) != 0);
        }

        for (int count = (int)(script & StormScript.Calls); count > 0 && !isGone; count--)
        {
            isGone = await CallGuestAsync(request.Guest!, ticket);
        }

        if ((script & StormScript.Long) != 0)
        {
            await Task.Delay(2);
        }

        CheckBuffer(request);
        Expect(request.Parameters[0].A == ticket, "the parameters of a command changed under it");
        request.SetValue(0, ticket + AnswerMark, request.Parameters[0].B);
        _ = Interlocked.Increment(ref _operations);
        return TeeResult.FromTee(request.IsCancellationRequested ? TeeReturnCode.Cancel : TeeReturnCode.Success);
    }

    /// <summary>Calls the guest with the ticket; the answer must be that to this call.</summary>
    /// <returns>Whether the guest is gone.</returns>
    private async ValueTask<bool> CallGuestAsync(GuestServices guest, ulong ticket)
    {
        TeeReturnCode code =
            await guest.CallAsync(OpTeeRpc.Plugin, TeeParameter.Value(TeeParameterKind.ValueInOut, ticket, 0));
        if (code == TeeReturnCode.Success)
        {
            Expect(guest.Parameters[0].A == ticket + AnswerMark, "a command got the answer of another");
            _ = Interlocked.Increment(ref _rpcs);
        }

        return code == TeeReturnCode.Communication;
    }

    private async ValueTask<bool> UseMemoryAsync(GuestServices guest, bool keeps)
    {
        if (await guest.AllocateAsync(GuestMemoryKind.Supplicant, 5000) is not { } memory)
        {
            return false;
        }

        byte[] bytes = new byte[8];
        Expect(memory.TryWrite(4092, bytes) && memory.TryRead(4092, bytes), "memory of the guest's could not be used");
        return !keeps && await guest.FreeAsync(memory) == TeeReturnCode.Communication;
    }

    /// <summary>A buffer begins with its cookie as long as a command uses it.</summary>
    private void CheckBuffer(TeeRequest request)
    {
        if (request.Parameters[1].Memory is not { } memory)
        {
            return;
        }

        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        Expect(memory.TryRead(0, bytes) && BinaryPrimitives.ReadUInt64LittleEndian(bytes) == request.Parameters[2].B,
            "a buffer was not the one that was named");
    }

    private void Expect(bool isSo, string fault)
    {
        if (!isSo)
        {
            _faults.Enqueue($"The TEE saw that {fault}.");
        }
    }
}
