namespace OpTeeMediator.Tests.Documentation;

/// <summary>A command that a page tells its readers to type, or a block of them.</summary>
/// <param name="Page">The page.</param>
/// <param name="Text">A command within a line: itself. A block: what a line before it contains.</param>
/// <param name="RunBy">The file that runs it; it finds a block by the same text. <see langword="null"/>: nothing
/// does.</param>
/// <param name="Reason">Why nothing does, or not as it is written.</param>
internal sealed record DocumentedCommand(string Page, string Text, string? RunBy, string Reason = "");
