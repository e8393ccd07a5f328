namespace OpTeeMediator.Machines.Parity;

/// <summary>Cases that cannot pass in a guest whose TEE is the host's, and why.</summary>
public static class ExpectedDifferences
{
    private const string Login =
        "the mediator maps a guest's logins to PUBLIC: the host's kernel would vouch for the VMM's own user";
    private const string Sockets =
        "the TEE's sockets end on the host, where its supplicant is; xtest listens in the guest";

    /// <summary>Where every case can pass.</summary>
    public static IReadOnlyDictionary<string, string> None { get; } = new Dictionary<string, string>();

    /// <summary>The reasons by the cases' numbers.</summary>
    public static IReadOnlyDictionary<string, string> Reasons { get; } = new Dictionary<string, string>
    {
        ["1027"] = Login,
        ["1028"] = Login,
        ["2001"] = Sockets,
        ["2002"] = Sockets,
        ["2003"] = Sockets,
        ["2004"] = Sockets,
    };
}
