// Fixtures have machines of their own, and an emulated machine uses about one processor.
[assembly: LevelOfParallelism(2)]
[assembly: Parallelizable(ParallelScope.Fixtures)]
