using OpTeeMediator.BenchmarkTests.Code;

// The tests start this program to observe it; `dotnet test` does not use it.
RepeatedCall.Run(args[0]);
