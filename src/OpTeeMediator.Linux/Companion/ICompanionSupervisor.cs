namespace OpTeeMediator.Linux.Companion;

/// <summary>Who watches over an OP-TEE. All methods are called on the hot path or close to it, by any thread.</summary>
internal interface ICompanionSupervisor
{
    /// <summary>A core begins to run, a full fence after <see cref="CompanionCore.Runs"/> has said so.</summary>
    void OnRun();

    /// <summary>OP-TEE has set a timer, a full fence after <see cref="CompanionCore.TimerDue"/> says so.</summary>
    void OnTimer(long due);

    /// <summary>It has started, and is about to fail; no other thread has seen that yet.</summary>
    void OnFailing();

    /// <summary>It has started, and has failed.</summary>
    void OnFailed();
}
