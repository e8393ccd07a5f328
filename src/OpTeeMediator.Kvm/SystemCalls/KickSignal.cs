using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm.SystemCalls;

/// <summary>A real-time signal that does nothing but interrupt the system call its thread is in.</summary>
/// <remarks>The handler must be code that may run at any point of any thread, so it cannot be managed: it is the C
/// library's <c>abs</c>, a pure function of the signal's number. With SA_RESTART system calls other than KVM_RUN (which
/// always returns EINTR) go on by themselves. The highest signal with the default action is taken; the .NET runtime
/// uses the lowest real-time signal.</remarks>
internal static unsafe class KickSignal
{
    private static readonly Lock HandlerLock = new();
    private static int _number;

    /// <summary>The signal's number, set up at the first use.</summary>
    /// <exception cref="SystemCallException">Every real-time signal is in use.</exception>
    internal static int Number
    {
        get
        {
            int number = Volatile.Read(ref _number);
            return number != 0 ? number : SetUp();
        }
    }

    private static int SetUp()
    {
        lock (HandlerLock)
        {
            if (_number != 0)
            {
                return _number;
            }

            const int LowestRealTimeSignal = 34;
            for (int signal = LibC.GetHighestRealTimeSignal(); signal > LowestRealTimeSignal; signal--)
            {
                SignalAction action = default;
                if (LibC.ChangeSignalAction(signal, null, &action) != 0 || action.Handler != 0)
                {
                    continue;
                }

                action = default;
                action.Handler = NativeLibrary.GetExport(NativeLibrary.GetMainProgramHandle(), "abs");
                action.Flags = LibC.SA_RESTART;
                if (LibC.ChangeSignalAction(signal, &action, null) == 0)
                {
                    Volatile.Write(ref _number, signal);
                    return signal;
                }
            }

            throw new SystemCallException(
                "No real-time signal is free for interrupting vCPUs: every one from 35 up has a handler in this"
                    + " process.");
        }
    }
}
