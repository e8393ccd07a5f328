using OpTeeMediator.Protocol;

namespace OpTeeMediator.Testing;

/// <summary>What a guest's kernel and supplicant answer to RPCs: memory, time, and a record
/// of what was asked.</summary>
public sealed class RpcServices(FakeDriver driver)
{
    private const uint Success = 0;
    private const uint NotSupported = 0xffff_000a;

    /// <summary>The cookie of the first memory that is allocated; the next ones follow one by one.</summary>
    public const ulong FirstCookie = 0xffff_0000_0977_0000;

    public List<GuestMessage> Calls { get; } = [];

    /// <summary>Memory that the TEE has: cookie to pages.</summary>
    public Dictionary<ulong, ulong[]> Memory { get; } = [];

    /// <summary>What the supplicant does with commands that are not the kernel's.</summary>
    public Func<GuestMessage, GuestMessage>? OnSupplicant { get; set; }

    public GuestMessage Serve(GuestMessage message)
    {
        Calls.Add(message);
        return message.Command switch
        {
            OpTeeRpc.AllocateSharedMemory => Allocate(message),
            OpTeeRpc.FreeSharedMemory => Memory.Remove(message.Parameters[0].B) ? message with { ReturnCode = Success }
                : message with { ReturnCode = NotSupported },
            OpTeeRpc.GetTime => message with { ReturnCode = Success,
                Parameters = [message.Parameters[0] with { A = 1_000_000_000, B = 5_000_000 }] },
            OpTeeRpc.Suspend or OpTeeRpc.Notification => message with { ReturnCode = Success },
            _ => OnSupplicant is null ? message with { ReturnCode = NotSupported } : OnSupplicant(message),
        };
    }

    private GuestMessage Allocate(GuestMessage message)
    {
        int size = (int)message.Parameters[0].B;
        ulong[] pages = driver.AllocatePages((size + OpTeeMessage.PageSize - 1) / OpTeeMessage.PageSize, 2);
        ulong cookie = FirstCookie + (ulong)Memory.Count;
        Memory.Add(cookie, pages);
        return message with { ReturnCode = Success,
            Parameters = [GuestParameter.PageList(driver.WritePageList(pages), (ulong)size, cookie)] };
    }
}
