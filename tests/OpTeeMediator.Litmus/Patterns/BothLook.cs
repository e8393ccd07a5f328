using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Backends;
using OpTeeMediator.Calls;
using OpTeeMediator.Kvm;
using OpTeeMediator.Linux.LinuxTee;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Vmm;
using Real = System.Threading.Volatile;

namespace OpTeeMediator.Litmus.Patterns;

/// <summary>Two threads each write, then read what the other one writes: at least one must see the other (store
/// buffering).</summary>
internal static unsafe class BothLook
{
    private const int Yes = 1;
    private const int No = 0;

    /// <summary>A call that has looked up a buffer, and who unregisters it.</summary>
    public static LitmusTest LookUp()
    {
        Padding padding = new();
        SharedBuffer buffer = padding.Separate(new SharedBuffer(null!, 1));
        SequenceLock tables = padding.Create<SequenceLock>();
        Box<int> version = padding.Create<Box<int>>();
        Box<CallBuffers> call = padding.Create<Box<CallBuffers>>();
        return new(
            "look-up",
            () =>
            {
                call.Value.Clear();
                version.Value = tables.Version;
            },
            () =>
            {
                // It has found the buffer before the change.
                call.Value.Use(0, buffer);
                return tables.IsUnchanged(version.Value) ? Yes : No;
            },
            () =>
            {
                using (tables.Enter())
                {
                }

                return call.Value.Contains(buffer) ? Yes : No;
            },
            static (isUnchanged, isUsed) => isUnchanged == Yes && isUsed == No)
        {
            IsShownByStoreBuffers = true,
        };
    }

    /// <summary>A call that ends, and who looks at it to cancel it.</summary>
    public static LitmusTest Release()
    {
        Padding padding = new();
        SharedBuffer buffer = padding.Separate(new SharedBuffer(null!, 1));
        Box<CallBuffers> call = padding.Create<Box<CallBuffers>>();
        Box<CallOwnership> ownership = padding.Create<Box<CallOwnership>>();
        CallCancellation cancellation = padding.Separate(NewCancellation(new CallOperation(), new TeeRequest(), null!));
        return new(
            "release",
            () =>
            {
                if (cancellation.HasCancellers)
                {
                    cancellation.Leave();
                }

                ownership.Value.EndRelease();
                _ = ownership.Value.TryTake();
                call.Value.Use(0, buffer);
            },
            () =>
            {
                call.Value.Clear();
                ownership.Value.BeginRelease();
                return cancellation.HasCancellers ? Yes : No;
            },
            () =>
            {
                cancellation.Enter();
                return call.Value.Contains(buffer) ? Yes : No;
            },
            static (hasCancellers, isUsed) => hasCancellers == No && isUsed == Yes)
        {
            IsShownByStoreBuffers = true,
        };
    }

    /// <summary>An operation that goes on after a wait outside of it, and who pauses the VM.</summary>
    public static LitmusTest EndOfWait()
    {
        Padding padding = new();
        CallOperation operation = padding.Create<CallOperation>();
        VmPause pause = padding.Create<VmPause>();
        return new(
            "end-of-wait",
            () =>
            {
                pause.Resume();
                operation.Prepare();
                operation.Begin(isOnWorker: true);
                operation.BeginWaitOutside();
            },
            () =>
            {
                operation.EndWaitOutside();
                return pause.IsPaused ? Yes : No;
            },
            () =>
            {
                _ = pause.Attempt();
                return operation.IsQuiet ? Yes : No;
            },
            static (isPaused, isQuiet) => isPaused == No && isQuiet == Yes)
        {
            IsShownByStoreBuffers = true,
        };
    }

    /// <summary>Work that begins, and who pauses the VM.</summary>
    public static LitmusTest Pause()
    {
        Padding padding = new();
        VmPause pause = padding.Create<VmPause>();
        bool hasEntered = false;
        return new(
            "pause",
            () =>
            {
                if (hasEntered)
                {
                    pause.Exit();
                }

                pause.Resume();
            },
            () => (hasEntered = pause.TryEnter()) ? Yes : No,
            () =>
            {
                _ = pause.Attempt();
                return pause.IsQuiet ? Yes : No;
            },
            static (begins, isQuiet) => begins == Yes && isQuiet == Yes);
    }

    /// <summary>An operation that begins on a vCPU's thread, and who cancels it.</summary>
    public static LitmusTest Cancellation()
    {
        Padding padding = new();
        TeeRequest request = padding.Separate(new TeeRequest());
        CallOperation operation = padding.Create<CallOperation>();
        CountingPartition partition = padding.Create<CountingPartition>();
        DriverInstance driverInstance = padding.Separate(new DriverInstance(1, 1));
        CallCancellation cancellation = padding.Separate(NewCancellation(operation, request, partition));
        operation.Kind = TeeOperation.InvokeCommand;
        return new(
            "cancellation",
            () =>
            {
                partition.Cancellations = 0;
                cancellation.Clear();
                operation.Prepare();
            },
            () =>
            {
                operation.Begin(isOnWorker: false);
                cancellation.Deliver(driverInstance, wasCancelled: false, wasTerminated: false);
                return 0;
            },
            () =>
            {
                cancellation.Request(driverInstance);
                return 0;
            },
            (_, _) => partition.Cancellations != 1)
        {
            IsShownByStoreBuffers = true,
        };
    }

    /// <summary>A command that enters the host's TEE, and who cancels it.</summary>
    public static LitmusTest RunningCall()
    {
        Padding padding = new();
        TeeRequest request = padding.Separate(new TeeRequest());
        RunningCall call = padding.Create<RunningCall>();
        return new(
            "running-call",
            () =>
            {
                call.Leave();
                request.ResetCancellation();
            },
            () =>
            {
                _ = call.TryEnter(request, 1, 1);
                return request.IsCancellationRequested ? Yes : No;
            },
            () =>
            {
                _ = request.RequestCancellation();
                return call.TryRequestCancel(request) ? Yes : No;
            },
            static (isCancelled, isFound) => isCancelled == No && isFound == No);
    }

    /// <summary>A vCPU that is about to run, and who kicks it.</summary>
    public static LitmusTest KickOfRun()
    {
        Padding padding = new();
        Box<byte> flag = Pinned<byte>(padding);
        VcpuKick kick = padding.Separate(new VcpuKick(AddressOf(flag)));
        return new(
            "kick-of-run",
            () =>
            {
                kick.EndRun();
                kick.Answer();
            },
            () =>
            {
                kick.BeginRun(thread: 1);

                // As the kernel does before it enters the guest.
                return Real.Read(ref flag.Value);
            },
            () => kick.Request(),
            static (flag, thread) => flag == 0 && thread == 0)
        {
            IsShownByStoreBuffers = true,
        };
    }

    /// <summary>A vCPU that answers a kick and looks what to do, and who gives it work and kicks it.</summary>
    public static LitmusTest KickOfAnswer()
    {
        Padding padding = new();
        Box<byte> flag = Pinned<byte>(padding);
        VcpuKick kick = padding.Separate(new VcpuKick(AddressOf(flag)));
        Box<int> work = padding.Create<Box<int>>();
        return new(
            "kick-of-answer",
            () =>
            {
                work.Value = 0;
                _ = kick.Request();
            },
            () =>
            {
                kick.Answer();
                return Real.Read(ref work.Value);
            },
            () =>
            {
                Real.Write(ref work.Value, 1);
                return kick.Request();
            },

            // Nobody has seen the work, nor will: the next run is not stopped.
            (seen, _) => seen == 0 && flag.Value == 0)
        {
            IsShownByStoreBuffers = true,
        };
    }

    /// <summary>A vCPU that completes an exit, and who kicks it: the next run must not begin.</summary>
    public static LitmusTest KickOfCompletion()
    {
        Padding padding = new();
        Box<byte> flag = Pinned<byte>(padding);
        VcpuKick kick = padding.Separate(new VcpuKick(AddressOf(flag)));
        return new(
            "kick-of-completion",
            () =>
            {
                kick.Answer();
                kick.BeginCompletion();
            },
            () =>
            {
                kick.EndCompletion();
                return 0;
            },
            () => kick.Request(),
            (_, _) => flag.Value == 0)
        {
            IsShownByStoreBuffers = true,
        };
    }

    private static CallCancellation NewCancellation(
        CallOperation operation, TeeRequest request, ITeePartition partition) =>
        new(request, operation, new PauseControl(), new BackendOperations(partition, NullLogger.Instance));

    private static Box<T> Pinned<T>(Padding padding)
        where T : unmanaged
    {
        Box<T> box = padding.Create<Box<T>>();
        padding.Pin(box);
        return box;
    }

    private static byte* AddressOf(Box<byte> pinned)
    {
        fixed (byte* address = &pinned.Value)
        {
            return address;
        }
    }
}
