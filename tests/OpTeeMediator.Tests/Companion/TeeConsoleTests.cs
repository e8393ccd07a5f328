using System.Text;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Tests.Linux;

namespace OpTeeMediator.Tests.Companion;

/// <summary>What OP-TEE says, as messages.</summary>
[TestFixture]
internal sealed class TeeConsoleTests
{
    private ListLoggerFactory _log = null!;
    private TeeConsole _console = null!;

    [SetUp]
    public void SetUp() => _console = new TeeConsole("guest", _log = new ListLoggerFactory());

    [Test]
    public void Write_Lines_AreOneMessageEach()
    {
        Write("I/TC: OP-TEE version\r\n\r\nE/TC: Panic\n");

        Assert.That(string.Join(" | ", _log.Messages), Is.EqualTo("guest: I/TC: OP-TEE version | guest: E/TC: Panic"));
    }

    [Test]
    public void Write_WhatIsNotPrintable_IsReplaced()
    {
        Write("a\u001b[31mb\u0000\n");

        Assert.That(_log.Messages.Single(), Is.EqualTo("guest: a?[31mb?"));
    }

    [Test]
    public void Write_ALineWithoutEnd_IsCut()
    {
        Write(new string('x', 1000) + "\n");

        Assert.That(string.Join(" | ", _log.Messages.Select(message => message.Length)), Is.EqualTo("407 | 407 | 207"));
    }

    private void Write(string text) => Array.ForEach(Encoding.ASCII.GetBytes(text), _console.Write);
}
