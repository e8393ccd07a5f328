using System.Globalization;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Vmm;

namespace OpTeeMediator.Tests.HostileGuest;

/// <summary>A VM whose guest changes what it has written while the mediator reads it, and a TEE that writes down all
/// that it gets.</summary>
internal abstract class RacedVm : IAsyncDisposable
{
    public const ulong Cookie = 0xffff_0000_0938_5a80;
    public const ulong OtherCookie = 0xffff_0000_0938_5b00;

    /// <summary>The size of the memory that the TEE asks the guest for.</summary>
    public const int AllocatedSize = 2 * OpTeeMessage.PageSize;

    /// <summary>What an outcome says of memory that the TEE has got and could not use.</summary>
    public const string Unreadable = "unreadable";

    private readonly List<string> _seen = [];

    public abstract RacingGuestMemory Memory { get; }

    public abstract FakeDriver Driver { get; }

    /// <summary>What the VM holds.</summary>
    public abstract string Status { get; }

    public static RacedVm Create(HandlerKind kind) =>
        kind == HandlerKind.Guest ? new RacedGuest() : new RacedForwarder();

    /// <summary>What the TEE has got, and what the guest has got back.</summary>
    public string Outcome => string.Join('\n', _seen.Append(Status));

    public abstract ValueTask DisposeAsync();

    /// <summary>From now on an invocation asks the guest for memory and then for a service that uses it.</summary>
    public abstract void AskTheGuest();

    /// <summary>Opens a session.</summary>
    public uint Open()
    {
        GuestMessage answer = Driver.OpenSession(Guests.GuestBench.Application);
        Assert.That(answer.ReturnCode, Is.Zero);
        return answer.Session;
    }

    /// <summary>Takes scattered pages, each of which begins with its own address.</summary>
    public ulong[] TakePages(int count)
    {
        ulong[] pages = Driver.AllocatePages(count, 2);
        foreach (ulong page in pages)
        {
            Driver.Write<ulong>(page, [page]);
        }

        return pages;
    }

    public void Share(ulong cookie, int pages) => Assert.That(
        Driver.Register(TakePages(pages), 0, (ulong)pages * OpTeeMessage.PageSize, cookie).ReturnCode, Is.Zero);

    /// <summary>Sends a message, and writes down what the interface says is an answer.</summary>
    public void Send(GuestMessage message)
    {
        uint x0 = Driver.TrySend(message);
        GuestMessage answer = Driver.ReadMessage(Driver.MessagePage, message.Parameters.Length);
        if (message.Command is OpTeeMessage.CommandRegisterSharedMemory or OpTeeMessage.CommandUnregisterSharedMemory)
        {
            // The code is all that is written.
            See($"x0 {x0:x}, return {answer.ReturnCode:x}");
            return;
        }

        See($"x0 {x0:x}, return {answer.ReturnCode:x} of {answer.ReturnOrigin}");
        if (message.Command == OpTeeMessage.CommandOpenSession)
        {
            See($"session {answer.Session}");
        }

        for (int index = 0; index < answer.Parameters.Length; index++)
        {
            (uint type, GuestParameter output) = ((uint)message.Parameters[index].Attributes, answer.Parameters[index]);
            if ((type & OpTeeMessage.AttributeMeta) == 0 && (type & 2) != 0)
            {
                See((type & OpTeeMessage.TypeMask) <= OpTeeMessage.TypeValueInOut
                    ? $"values {output.A:x} {output.B:x}" : $"size {output.B:x}");
            }
        }
    }

    protected void See(string what) => _seen.Add(what);

    protected static string Hex(IEnumerable<ulong> values) =>
        string.Join(' ', values.Select(value => value.ToString("x", CultureInfo.InvariantCulture)));
}
