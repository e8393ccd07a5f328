namespace OpTeeMediator.ExplorationTests.Scheduling;

/// <summary>Ends a thread of a schedule that has a finding.</summary>
internal sealed class ScheduleEndedException : Exception;
