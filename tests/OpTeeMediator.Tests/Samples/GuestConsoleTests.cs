using System.IO.Pipes;
using System.Text;
using KvmVmm.HostConsole;

namespace OpTeeMediator.Tests.Samples;

/// <summary>KvmVmm's console: what it reads, and what it leaves to another process.</summary>
[TestFixture]
internal sealed class GuestConsoleTests
{
    [Test]
    public void HaltInput_WhatIsTypedAfterwards_IsLeftToAnotherProcess()
    {
        using AnonymousPipeServerStream keyboard = new(PipeDirection.Out);
        using AnonymousPipeClientStream input = new(PipeDirection.In, keyboard.ClientSafePipeHandle);
        using StandardInput source = new(new(input.SafePipeHandle.DangerousGetHandle(), ownsHandle: false));
        using MemoryStream output = new();
        using GuestConsole console = new(source, output, terminal: null, () => { });

        // Before the guest runs, nothing is read.
        keyboard.Write("first"u8);
        Assert.That(console.WaitingInput(), Is.Empty);
        console.ContinueInput();
        Assert.That(() => Encoding.ASCII.GetString(console.WaitingInput()), Is.EqualTo("first").After(30_000, 5));

        console.HaltInput();
        keyboard.Write("second"u8);
        byte[] other = new byte[6];
        input.ReadExactly(other);
        Assert.That(Encoding.ASCII.GetString(other), Is.EqualTo("second"));

        // The guest goes on after all.
        console.ContinueInput();
        keyboard.Write("third"u8);
        Assert.That(() => Encoding.ASCII.GetString(console.WaitingInput()), Is.EqualTo("firstthird").After(30_000, 5));
    }

    [Test]
    public void ContinueInput_MoreThanFits_WaitsInTheHostAndNothingIsLost()
    {
        using AnonymousPipeServerStream keyboard = new(PipeDirection.Out);
        using AnonymousPipeClientStream input = new(PipeDirection.In, keyboard.ClientSafePipeHandle);
        using StandardInput source = new(new(input.SafePipeHandle.DangerousGetHandle(), ownsHandle: false));
        using MemoryStream output = new();
        using GuestConsole console = new(source, output, terminal: null, () => { });
        byte[] typed = [.. Enumerable.Range(0, 3 * GuestConsole.InputCapacity).Select(index => (byte)(index * 3 / 2))];
        keyboard.Write(typed);
        console.ContinueInput();
        List<byte> taken = [];

        Assert.That(
            () =>
            {
                while (console.TryTake(out byte next))
                {
                    taken.Add(next);
                }

                return taken.Count;
            },
            Is.EqualTo(typed.Length).After(30_000, 1));
        Assert.That(taken, Is.EqualTo(typed));
    }
}
