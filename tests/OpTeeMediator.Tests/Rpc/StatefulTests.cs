using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Rpc;

/// <summary>
/// Random sequences of everything that can happen to calls, against a model that is simple enough to be
/// believed: start, RPC, answer, preempt, resume, forged, stale and doubled resume, cancel, pause, reset, unregister
/// while in use, dispose. In the end every slot, pin and buffer is accounted for.
/// </summary>
[Parallelizable(ParallelScope.All)]
internal sealed class StatefulTests
{
    // 52 lives of 2,000 steps: 104,000 steps a run.
    private const int Steps = 2000;

    private static IEnumerable<int> Seeds => Enumerable.Range(1, 52);

    [TestCaseSource(nameof(Seeds))]
    public async Task AnySequence_AgainstModel_AgreesAndLeavesNothing(int seed)
    {
        await using Life life = new(seed);
        for (int step = 0; step < Steps; step++)
        {
            await life.StepAsync();
        }

        await life.EndAsync();
    }

    private sealed class Life : IAsyncDisposable
    {
        private const int Slots = 4;
        private const int Buffers = 6;

        private readonly Random _random;
        private readonly GuestBench _bench;
        private readonly ulong[] _list;
        private readonly Stack<ulong> _pages = new();
        private readonly HashSet<ulong> _registered = [];
        private readonly List<ModelledCall> _calls = [];
        private readonly List<ModelledCall> _abandoned = [];
        private readonly List<ulong> _stale = [];
        private ModelledCall? _starting;
        private uint _session;
        private bool _isPaused;

        public Life(int seed)
        {
            _random = new Random(seed);
            _bench = new GuestBench(new OpTeeGuestOptions
            {
                // The model moves the backend itself: nothing is to be waited for.
                Quantum = TimeSpan.Zero,
                ShutdownDeadline = TimeSpan.Zero,
                Limits = new OpTeeLimits { Calls = Slots },
            });
            _bench.Backend.OnInvoke = request => _starting!.PerformAsync(request);
            _list = [_bench.Driver.WritePageList(_bench.Driver.AllocatePages(3, 2))];
            foreach (ulong page in _bench.Driver.AllocatePages(64, 1))
            {
                _pages.Push(page);
            }

            _session = _bench.Open();
        }

        public Task StepAsync()
        {
            switch (_random.Next(100))
            {
                case < 18:
                    Start();
                    break;
                case < 30:
                    MoveBackend(call => !call.HasAskedGuest && !call.IsAnswerHeld && !call.IsFinished
                        && !call.IsDraining, call => call.AskGuest());
                    break;
                case < 45:
                    MoveBackend(call => !call.HasAskedGuest && !call.IsAnswerHeld && !call.IsFinished
                        && !call.IsDraining, call => call.Finish());
                    break;
                case < 75:
                    Resume();
                    break;
                case < 80:
                    ResumeWrongly();
                    break;
                case < 84:
                    Cancel();
                    break;
                case < 89:
                    Register();
                    break;
                case < 93:
                    Unregister();
                    break;
                case < 95:
                    return TogglePauseAsync();
                case < 96:
                    return ResetAsync();
                default:
                    FinishAbandoned();
                    break;
            }

            return Task.CompletedTask;
        }

        public async Task EndAsync()
        {
            await _bench.Guest.DisposeAsync();
            _abandoned.AddRange(_calls.Where(call => call.Request is not null && !call.IsFinished));
            while (_abandoned.Count > 0)
            {
                FinishAbandoned();
            }

            Assert.That(() => _bench.Guest.Status, Is.EqualTo(GuestBench.Nothing).After(10_000, 5));
            Assert.That(() => _bench.Backend.Disposals, Is.EqualTo(1).After(10_000, 5));
            Assert.That((_bench.Backend.OpenSessions, _bench.Backend.RegisteredBuffers), Is.EqualTo((0, 0)));
            Assert.That(_bench.Ram.TryDiscard(new OpTeeMediator.Memory.GuestRange(GuestBench.RamStart,
                GuestBench.RamLength)), "No page should be pinned.");
        }

        public ValueTask DisposeAsync() => _bench.DisposeAsync();

        private int HeldSlots => _calls.Count + _abandoned.Count;

        private void Start()
        {
            ulong cookie = _registered.Count == 0 ? 0 : _registered.ElementAt(_random.Next(_registered.Count));
            ModelledCall call = new() { Cookie = cookie, Page = _pages.Pop() };
            GuestParameter[] parameters = cookie == 0 ? [] : [GuestParameter.RegisteredInOut(0, 100, cookie)];
            _starting = call;
            SmcRegisters registers = Send(call.Page, GuestBench.Invocation(_session, 0, parameters));
            if (HeldSlots == Slots)
            {
                // Without a call of its own in flight the driver would sleep indefinitely on ETHREAD_LIMIT.
                Assert.That(registers.X0,
                    Is.EqualTo(_calls.Count > 0 ? OpTeeSmc.ReturnThreadLimit : OpTeeSmc.ReturnNoMemory));
                _pages.Push(call.Page);
                return;
            }

            Assert.That(registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
            call.Registers = registers;
            _calls.Add(call);
            Assert.That(call.Request is null, Is.EqualTo(_isPaused),
                "An operation should begin unless the VM is paused.");
        }

        private void MoveBackend(Func<ModelledCall, bool> which, Action<ModelledCall> move)
        {
            if (Pick(_calls.Where(call => call.Request is not null && which(call))) is { } call)
            {
                move(call);
            }
        }

        private void Resume()
        {
            if (Pick(_calls) is not { } call)
            {
                return;
            }

            if (call.IsWithGuest)
            {
                ulong place = call.Page + (ulong)OpTeeMessage.Size(call.Cookie == 0 ? 0 : 1);
                _bench.Driver.WriteMessage(place,
                    new GuestMessage(OpTeeRpc.Suspend, GuestParameter.ValueIn(1, 0)) { ReturnCode = 0 });
                call.IsWithGuest = false;
                call.HasAskedGuest = false;
                call.IsAnswerHeld = true;
            }

            call.IsAnswerHeld &= _isPaused;
            _starting = call;
            ulong used = call.Registers.X3;
            SmcRegisters registers = _bench.Resume(used);
            _stale.Add(used);
            call.Registers = registers;
            Expect(call, registers);
        }

        /// <summary>What a resumed call is to be answered.</summary>
        private void Expect(ModelledCall call, SmcRegisters registers)
        {
            if (call.IsDraining)
            {
                bool isInUse = _calls.Any(other => other.Cookie == call.Cookie && other != call);
                Assert.That(registers.X0,
                    Is.EqualTo(isInUse || _isPaused ? OpTeeSmc.ReturnRpcForeignInterrupt : OpTeeSmc.ReturnOk));
                EndIf(registers, call, 0);
            }
            else if (call.HasAskedGuest)
            {
                Assert.That(registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcCommand));
                call.IsWithGuest = true;
            }
            else if (call.IsFinished)
            {
                Assert.That(registers.X0, Is.EqualTo(OpTeeSmc.ReturnOk));
                EndIf(registers, call, call.IsCancelled ? (uint)TeeReturnCode.Cancel : 0);
            }
            else
            {
                Assert.That(registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
                Assert.That(call.Answer, Is.EqualTo(TeeReturnCode.Success), "A guest that is there has answered.");
            }
        }

        private void EndIf(SmcRegisters registers, ModelledCall call, uint code)
        {
            if (registers.X0 != OpTeeSmc.ReturnOk)
            {
                return;
            }

            Assert.That(_bench.Driver.ReadMessage(call.Page, 0).ReturnCode, Is.EqualTo(code));
            _ = _calls.Remove(call);
            _pages.Push(call.Page);
        }

        private void ResumeWrongly()
        {
            ulong forged = (ulong)_random.NextInt64(1L << 32);
            ulong wrong = _stale.Count > 0 && _random.Next(2) == 0 ? _stale[_random.Next(_stale.Count)] : forged;
            if (_calls.Any(call => call.Registers.X3 == wrong))
            {
                return;
            }

            Assert.That(_bench.Resume(wrong).X0, Is.EqualTo(OpTeeSmc.ReturnResume));
        }

        private void Cancel()
        {
            if (_isPaused)
            {
                // Held, or refused without a free slot; GuestPauseTests has that.
                return;
            }

            ulong page = _pages.Pop();
            SmcRegisters registers = Send(page, new GuestMessage(OpTeeMessage.CommandCancel) { Session = _session });
            _pages.Push(page);
            Assert.That(registers.X0, Is.EqualTo(OpTeeSmc.ReturnOk));
            foreach (ModelledCall call in _calls.Where(call => !call.IsDraining && !call.IsFinished))
            {
                call.IsCancelled = true;
            }
        }

        private void Register()
        {
            ulong cookie = 1 + (ulong)_random.Next(Buffers);
            bool isTaken = _registered.Contains(cookie) || _calls.Any(call => call.IsDraining && call.Cookie == cookie);
            SendNow(
                new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory,
                    GuestParameter.PageList(_list[0], 3 * OpTeeMessage.PageSize, cookie)),
                isTaken ? (uint)TeeReturnCode.BadParameters : 0,
                () => _registered.Add(cookie));
        }

        private void Unregister()
        {
            if (_registered.Count == 0 || _isPaused || HeldSlots == Slots)
            {
                return;
            }

            ulong cookie = _registered.ElementAt(_random.Next(_registered.Count));
            ModelledCall call = new() { Cookie = cookie, Page = _pages.Pop(), IsDraining = true };
            SmcRegisters registers = Send(call.Page, GuestBench.Unregistering(cookie));
            _ = _registered.Remove(cookie);
            call.Registers = registers;
            _calls.Add(call);
            Expect(call, registers);
        }

        private async Task TogglePauseAsync()
        {
            if (_isPaused)
            {
                _bench.Guest.Resume();
                _isPaused = false;
                return;
            }

            bool isQuiet = _calls.All(call => call.Request is null || call.IsFinished || call.HasAskedGuest
                || call.IsAnswerHeld) && _abandoned.Count == 0;
            bool isPaused = await _bench.Guest.PauseAsync();

            // What an earlier reset has left may be being torn down still: nothing of the
            // model's, and it comes to an end.
            for (int attempt = 0; isQuiet && !isPaused && attempt < 10_000; attempt++)
            {
                await Task.Delay(1);
                isPaused = await _bench.Guest.PauseAsync();
            }

            Assert.That(isPaused, Is.EqualTo(isQuiet));
            _isPaused = isPaused;
        }

        private async Task ResetAsync()
        {
            if (_isPaused)
            {
                return;
            }

            await _bench.Guest.ResetAsync();
            foreach (ModelledCall call in _calls)
            {
                _pages.Push(call.Page);
            }

            // One whose RPC was outstanding is told that the guest is gone, and continues.
            foreach (ModelledCall call in _calls.Where(call => call.HasAskedGuest || call.IsAnswerHeld))
            {
                Assert.That(call.Answer, Is.EqualTo(TeeReturnCode.Communication));
                call.HasAskedGuest = false;
            }

            _abandoned.AddRange(_calls.Where(call => call.Request is not null && !call.IsFinished));
            _stale.AddRange(_calls.Select(call => call.Registers.X3));
            _calls.Clear();
            _registered.Clear();
            OpenAgain();
        }

        private void OpenAgain()
        {
            while (_abandoned.Count == Slots)
            {
                FinishAbandoned();
            }

            _session = _bench.Open();
        }

        private void FinishAbandoned()
        {
            if (_abandoned.Count > 0)
            {
                ModelledCall call = _abandoned[^1];
                _abandoned.RemoveAt(_abandoned.Count - 1);
                call.Finish();
            }
        }

        private void SendNow(GuestMessage message, uint code, Action onSuccess)
        {
            if (_isPaused || HeldSlots == Slots)
            {
                return;
            }

            ulong page = _pages.Pop();
            Assert.That(Send(page, message).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
            Assert.That(_bench.Driver.ReadMessage(page, 0).ReturnCode, Is.EqualTo(code));
            _pages.Push(page);
            if (code == 0)
            {
                onSuccess();
            }
        }

        private SmcRegisters Send(ulong page, GuestMessage message)
        {
            _bench.Driver.WriteMessage(page, message);
            return _bench.Driver.Call(OpTeeSmc.CallWithRpcArgument, page >> 32, (uint)page);
        }

        private ModelledCall? Pick(IEnumerable<ModelledCall> calls)
        {
            ModelledCall[] candidates = [.. calls];
            return candidates.Length == 0 ? null : candidates[_random.Next(candidates.Length)];
        }
    }
}
