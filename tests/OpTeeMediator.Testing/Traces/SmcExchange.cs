namespace OpTeeMediator.Testing.Traces;

/// <summary>An SMC that a hypervisor made to OP-TEE, as X0 to X7 before and after it.</summary>
public sealed record SmcExchange(ulong[] Made, ulong[] Answered)
{
    /// <summary>Reads <c>x0 … x7 => x0 … x7</c>, in hexadecimal.</summary>
    public static SmcExchange Parse(string text)
    {
        ulong[][] sides = [.. text.Split("=>").Select(Trace.Words)];
        return new SmcExchange(sides[0], sides[1]);
    }
}
