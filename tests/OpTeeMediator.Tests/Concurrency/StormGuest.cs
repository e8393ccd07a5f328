using System.Collections.Concurrent;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Tests.Rpc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Concurrency;

/// <summary>A guest of several vCPUs that share sessions, buffers and suspended calls: each resumes, answers or
/// cancels whatever there is.</summary>
/// <remarks>It knows of each call what may become of it; what may not is a fault.</remarks>
internal sealed class StormGuest : IAsyncDisposable
{
    private const int Slots = 4;
    private const int Cookies = 5;
    private const int Sessions = 3;
    
    // Each restart loses some: what was suspended, or kept for RPC messages.
    private const int Pages = 4096;
    private const ulong FirstRpcCookie = 0xffff_0000_5000_0000;

    // Codes of messages: BAD_PARAMETERS where a session or buffer is gone, OUT_OF_MEMORY where a table is full.
    private static readonly uint[] Codes = [0, (uint)TeeReturnCode.BadParameters, (uint)TeeReturnCode.OutOfMemory];

    // ENOMEM and ETHREAD_LIMIT without a slot, EBUSY while the driver instance is being replaced.
    private static readonly uint[] Refusals =
        [OpTeeSmc.ReturnThreadLimit, OpTeeSmc.ReturnNoMemory, OpTeeSmc.ReturnBusy];

    private readonly ConcurrentQueue<string> _faults;
    private readonly StormTee _tee;
    private readonly GuestBench _bench;
    private readonly FakeDriver _driver;
    private readonly ulong[] _lists;
    private readonly uint[] _sessions = new uint[Sessions];
    private readonly ConcurrentQueue<ulong> _pages = new();
    private readonly ConcurrentQueue<StormTurn> _turns = new();
    private readonly ConcurrentQueue<StormTurn> _doubles = new();
    private readonly ConcurrentDictionary<ulong, ulong> _rpcMemory = new();
    private readonly ulong[] _offers;
    private long _tickets;
    private long _rpcCookies;
    private int _life;
    private int _answered;
    private int _canBeWoken;

    public StormGuest(TeeExecution execution, ConcurrentQueue<string> faults)
    {
        _faults = faults;
        _tee = new StormTee(execution, faults);
        _bench = new GuestBench(
            new OpTeeGuestOptions
            {
                // Long enough for a worker to get a processor beside the vCPUs, short enough for long commands to
                // be interrupted, and sleeping.
                Quantum = TimeSpan.FromMicroseconds(500),
                SleepAfter = TimeSpan.FromMilliseconds(1),
                NotificationInterrupt = new CountingLine(),
                ShutdownDeadline = TimeSpan.FromSeconds(20),
                Limits = new OpTeeLimits { Calls = Slots },
            },
            _tee.Backend);
        _driver = _bench.Driver;
        _lists = [.. Enumerable.Range(1, Cookies).Select(cookie => ListOfBuffer((ulong)cookie))];
        _offers = [.. Enumerable.Range(0, 2).Select(_ => _driver.WritePageList(_driver.AllocatePages(2, 2)))];
        foreach (ulong page in _driver.AllocatePages(Pages, 1))
        {
            _pages.Enqueue(page);
        }
    }

    public GuestBench Bench => _bench;

    public StormTee Tee => _tee;

    public int Answered => _answered;

    public int Sleeping => _canBeWoken;

    public void Step(Random random)
    {
        switch (random.Next(100))
        {
            case < 27:
                Invoke(random);
                break;
            case < 28:
                Open();
                break;
            case < 29:
                Start(GuestBench.Closing(Session(random)), 0, OpTeeSmc.CallWithRpcArgument);
                break;
            case < 36:
                int cookie = random.Next(Cookies);
                Start(new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory, GuestParameter.PageList(_lists[cookie],
                    3 * OpTeeMessage.PageSize, 1 + (ulong)cookie)), 0, OpTeeSmc.CallWithRpcArgument);
                break;
            case < 38:
                Start(GuestBench.Unregistering(1 + (ulong)random.Next(Cookies)), 0, OpTeeSmc.CallWithRpcArgument);
                break;
            case < 41:
                Start(new GuestMessage(OpTeeMessage.CommandCancel) { Session = Session(random) }, 0,
                    OpTeeSmc.CallWithRpcArgument);
                break;
            case < 43:
                ResumeForged(random);
                break;
            case < 46:
                ResumeAgain();
                break;
            case < 48:
                _ = _driver.Call(OpTeeSmc.GetAsyncNotificationValue);
                break;
            case < 49:
                _ = _driver.Call(random.Next(3) > 0 ? OpTeeSmc.EnableAsyncNotification : OpTeeSmc.EnableShmCache);
                break;
            default:
                Resume(random);
                break;
        }
    }

    /// <summary>The guest starts again: what it had suspended is lost.</summary>
    public async Task RestartAsync(bool isReset)
    {
        // Odd while it lasts: a call of that time may belong to either life.
        _ = Interlocked.Increment(ref _life);
        if (isReset)
        {
            await _bench.Guest.ResetAsync();
        }
        else
        {
            _ = _driver.Call(OpTeeSmc.ExchangeCapabilities, 0);
        }

        Array.Clear(_sessions);
        _ = Interlocked.Increment(ref _life);
    }

    /// <summary>Resumes what is left until all calls have ended.</summary>
    public void Drain(Random random, TimeSpan atMost)
    {
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        while (!_turns.IsEmpty)
        {
            Resume(random);
            if (System.Diagnostics.Stopwatch.GetElapsedTime(start) > atMost)
            {
                Fault($"{_turns.Count} calls do not end; one is of command {_turns.First().Call.Message.Command}");
                return;
            }
        }
    }

    public ValueTask DisposeAsync() => _bench.DisposeAsync();

    private void Open() =>
        Start(FakeDriver.Opening(GuestBench.Application, default, 0), 0, OpTeeSmc.CallWithRpcArgument);

    private uint Session(Random random) => Volatile.Read(ref _sessions[random.Next(Sessions)]);

    private void Invoke(Random random)
    {
        uint session = Session(random);
        if (session == 0)
        {
            Open();
            return;
        }

        ulong ticket = (ulong)Interlocked.Increment(ref _tickets);
        StormScript script =
            (StormScript)random.Next(16) | (random.Next(12) == 0 ? StormScript.Long : StormScript.None);
        ulong cookie = 1 + (ulong)random.Next(Cookies);
        GuestParameter buffer = random.Next(3) == 0 ? GuestParameter.None
            : GuestParameter.RegisteredInOut(0, 100, cookie);
        GuestMessage message = GuestBench.Invocation(session, 0, GuestParameter.ValueInOut(ticket, (ulong)script),
            buffer, GuestParameter.ValueIn(0, cookie));
        Start(message, ticket, random.Next(3) == 0 ? OpTeeSmc.CallWithArgument : OpTeeSmc.CallWithRpcArgument);
    }

    private void Start(GuestMessage message, ulong ticket, uint conduit)
    {
        if (!_pages.TryDequeue(out ulong page))
        {
            return;
        }

        StormCall call = new(page, message, ticket, Volatile.Read(ref _life), conduit);
        _driver.WriteMessage(page, message);
        SmcRegisters registers = _driver.Call(conduit, page >> 32, (uint)page);
        if (Refusals.Contains((uint)registers.X0))
        {
            _pages.Enqueue(page);
            Thread.Yield();
            return;
        }

        Follow(call, registers);
    }

    private void Resume(Random random)
    {
        if (!_turns.TryDequeue(out StormTurn? turn))
        {
            return;
        }

        SmcRegisters registers = Answer(turn, random);
        bool isDoubled = random.Next(8) == 0;
        if (isDoubled)
        {
            _doubles.Enqueue(turn);
        }

        registers = Call(registers);
        if (registers.X0 != OpTeeSmc.ReturnResume)
        {
            FollowOnce(turn, registers);
        }
        else if (turn.Call.Life == Volatile.Read(ref _life) && turn.Call.Life % 2 == 0
            && !SpinWait.SpinUntil(() => turn.IsResumed, TimeSpan.FromSeconds(10)))
        {
            Fault("a suspended call could not be resumed");
        }
        else if (!isDoubled)
        {
            _pages.Enqueue(turn.Call.Page);
        }
    }

    /// <summary>Resumes what another vCPU resumes at the same time, or has resumed.</summary>
    private void ResumeAgain()
    {
        if (_doubles.TryDequeue(out StormTurn? turn))
        {
            SmcRegisters registers = default;
            registers.X3 = turn.ResumeInformation;
            turn.Registers.AsSpan().CopyTo(registers[1..]);
            registers = Call(registers);
            if (registers.X0 != OpTeeSmc.ReturnResume)
            {
                FollowOnce(turn, registers);
            }
        }
    }

    private void ResumeForged(Random random)
    {
        // Generations are small numbers and random ones large: it is nobody's.
        SmcRegisters registers = default;
        registers.X3 = (ulong)random.NextInt64(1L << 31, 1L << 32);
        if (Call(registers).X0 != OpTeeSmc.ReturnResume)
        {
            Fault("forged resume information was accepted");
        }
    }

    private SmcRegisters Call(in SmcRegisters registers) => _driver.Call(OpTeeSmc.ReturnFromRpc, registers[1..8]);

    private void FollowOnce(StormTurn turn, in SmcRegisters registers)
    {
        if (turn.TryMarkResumed())
        {
            Follow(turn.Call, registers);
        }
        else
        {
            Fault("a call was resumed twice from one suspension");
        }
    }

    /// <summary>Does what a return asks for: ends the call, or keeps it for the next thread.</summary>
    private void Follow(StormCall call, in SmcRegisters registers)
    {
        switch ((uint)registers.X0)
        {
            case OpTeeSmc.ReturnOk:
                End(call);
                break;

            case OpTeeSmc.ReturnRpcForeignInterrupt:
                _turns.Enqueue(new StormTurn(call, registers.X3));
                break;

            case OpTeeSmc.ReturnRpcAllocate or OpTeeSmc.ReturnRpcFree or OpTeeSmc.ReturnRpcCommand:
                _turns.Enqueue(
                    new StormTurn(call, registers.X3) { IsAsked = true, Registers = registers[..6].ToArray() });
                break;

            default:
                Fault($"a call of command {call.Message.Command} was answered 0x{registers.X0:x}");
                break;
        }
    }

    private void End(StormCall call)
    {
        GuestMessage answer = _driver.ReadMessage(call.Page, call.Message.Parameters.Length);
        bool isOfThisLife = call.Life == Volatile.Read(ref _life) && call.Life % 2 == 0;
        bool hasAnswer = answer.ReturnCode != GuestMessage.Untouched;
        if (!call.TryMarkAnswered())
        {
            Fault("a call was answered twice");
        }

        if (isOfThisLife && !hasAnswer)
        {
            Fault($"a call of command {call.Message.Command} ended without an answer");
        }

        if (hasAnswer)
        {
            Check(call, answer);
        }

        _ = Interlocked.Increment(ref _answered);
        _pages.Enqueue(call.Page);
    }

    private void Check(StormCall call, GuestMessage answer)
    {
        bool isInvoke = call.Message.Command == OpTeeMessage.CommandInvoke;
        bool isCancelled = isInvoke && answer.ReturnCode == (uint)TeeReturnCode.Cancel;
        if (!isCancelled && !Codes.Contains(answer.ReturnCode))
        {
            Fault($"a message of command {call.Message.Command} was answered 0x{answer.ReturnCode:x}");
        }

        if (isInvoke && (answer.ReturnCode == 0 || isCancelled))
        {
            if (answer.Parameters[0].A != call.Ticket + StormTee.AnswerMark || !_tee.HasBegun(call.Ticket))
            {
                Fault("a call got the answer of another");
            }
        }
        else if (isInvoke && _tee.HasBegun(call.Ticket))
        {
            Fault("a call was refused and performed");
        }
        else if (call.Message.Command == OpTeeMessage.CommandOpenSession && answer.ReturnCode == 0)
        {
            uint former = Interlocked.Exchange(ref _sessions[call.Page / OpTeeMessage.PageSize % Sessions],
                answer.Session);
            Start(GuestBench.Closing(former), 0, OpTeeSmc.CallWithRpcArgument);
        }
    }

    /// <summary>Answers what the guest was asked; the registers to resume with.</summary>
    private SmcRegisters Answer(StormTurn turn, Random random)
    {
        SmcRegisters registers = default;
        registers.X3 = turn.ResumeInformation;
        if (!turn.IsAsked)
        {
            return registers;
        }

        SmcRegisters asked = default;
        turn.Registers.AsSpan().CopyTo(asked[..6]);
        switch ((uint)asked.X0)
        {
            case OpTeeSmc.ReturnRpcAllocate when _pages.TryDequeue(out ulong page):
                ulong cookie = FirstRpcCookie + (ulong)Interlocked.Increment(ref _rpcCookies);
                _rpcMemory[cookie] = page;
                registers.X1 = page >> 32;
                registers.X2 = (uint)page;
                registers.X4 = cookie >> 32;
                registers.X5 = (uint)cookie;
                break;

            case OpTeeSmc.ReturnRpcFree:
                if (!_rpcMemory.TryRemove(asked.Pair(1, 2), out ulong freed))
                {
                    Fault("memory for RPC messages was given back that the TEE did not have");
                }
                else
                {
                    _pages.Enqueue(freed);
                }

                break;

            case OpTeeSmc.ReturnRpcCommand:
                ulong place = turn.Call.Conduit == OpTeeSmc.CallWithArgument
                    ? _rpcMemory.GetValueOrDefault(asked.Pair(1, 2)) : turn.Call.RpcPlace;
                Serve(turn.Call, place, random);
                break;

            default:
                // No page left: the answer is NULL.
                break;
        }

        // For those who resume it again: what they return with does not matter, as they come second.
        registers[1..6].CopyTo(turn.Registers);
        return registers;
    }

    private void Serve(StormCall call, ulong place, Random random)
    {
        if (place == 0)
        {
            Fault("an RPC came in memory that the TEE does not have");
            return;
        }

        GuestMessage asked = _driver.ReadMessage(place, 1);
        GuestMessage answer = asked with { ReturnCode = random.Next(10) == 0 ? (uint)TeeReturnCode.Generic : 0 };
        switch (asked.Command)
        {
            case OpTeeRpc.Plugin:
                if (asked.Parameters[0].A != call.Ticket)
                {
                    Fault("a call carried the RPC of another");
                }

                answer.Parameters[0] = asked.Parameters[0] with { A = call.Ticket + StormTee.AnswerMark };
                break;

            case OpTeeRpc.AllocateSharedMemory:
                // Now and then nothing that can be used.
                ulong list = random.Next(6) == 0 ? 0x10_0000 : _offers[random.Next(_offers.Length)];
                answer.Parameters[0] = GuestParameter.PageList(list, 5000, call.Ticket);
                break;

            case OpTeeRpc.FreeSharedMemory:
                if (asked.Parameters[0].B != call.Ticket)
                {
                    Fault("memory was given back that another call has");
                }

                break;

            case OpTeeRpc.Notification:
                _ = Interlocked.Increment(ref _canBeWoken);
                break;

            default:
                Fault($"the guest was asked {asked.Command}, which no command asks");
                break;
        }

        _driver.WriteMessage(place, answer);
    }

    /// <summary>Three pages that begin with the cookie.</summary>
    private ulong ListOfBuffer(ulong cookie)
    {
        ulong[] pages = _driver.AllocatePages(3, 2);
        _driver.Write<ulong>(pages[0], [cookie]);
        return _driver.WritePageList(pages);
    }

    private void Fault(string fault) => _faults.Enqueue($"The guest saw that {fault}.");
}
