using System.Collections.Immutable;

namespace OpTeeMediator.Smccc;

/// <summary>Hands each call to the handler whose ranges contain its function identifier.</summary>
/// <remarks>OP-TEE can so sit beside other services: another trusted OS, a TRNG, a VMM's own calls. A call that nobody
/// answers gets <see cref="SmcccReturn.NotSupported"/> in X0. Immutable after construction and thread-safe.</remarks>
public sealed class SmcRouter : ISmcHandler
{
    private readonly Route[] _routes;

    /// <summary>Creates a router over a fixed set of handlers.</summary>
    /// <param name="handlers">The handlers; no two may answer the same function identifier.</param>
    /// <exception cref="ArgumentNullException">The handlers or one of them is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">Two ranges overlap; the message names both and their handlers.</exception>
    public SmcRouter(params IReadOnlyList<ISmcHandler> handlers)
    {
        ArgumentNullException.ThrowIfNull(handlers);
        List<Route> routes = [];
        foreach (ISmcHandler handler in handlers)
        {
            ArgumentNullException.ThrowIfNull(handler, nameof(handlers));
            foreach (SmcFunctionRange range in handler.Ranges)
            {
                int taken = routes.FindIndex(route => route.Range.Overlaps(range));
                if (taken >= 0)
                {
                    throw new ArgumentException(
                        $"Function identifiers {range} of {handler.GetType().Name} overlap {routes[taken].Range} of "
                        + $"{routes[taken].Handler.GetType().Name}; each identifier can have one handler.",
                        nameof(handlers));
                }

                routes.Add(new Route(range, handler));
            }
        }

        routes.Sort((left, right) => left.Range.First.Value.CompareTo(right.Range.First.Value));
        _routes = [.. routes];
        Ranges = [.. routes.Select(route => route.Range)];
    }

    /// <inheritdoc/>
    public ImmutableArray<SmcFunctionRange> Ranges { get; }

    /// <inheritdoc/>
    public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded)
    {
        SmcFunctionId functionId = registers.FunctionId;
        foreach (ref readonly Route route in _routes.AsSpan())
        {
            if (route.Range.Contains(functionId))
            {
                SmcOutcome outcome = route.Handler.Handle(ref registers, loaded);
                return outcome.Kind == SmcOutcomeKind.NotHandled ? NotSupported(ref registers) : outcome;
            }
        }

        return NotSupported(ref registers);
    }

    private static SmcOutcome NotSupported(ref SmcRegisters registers)
    {
        registers.X0 = SmcccReturn.NotSupported;
        return SmcOutcome.Handled(SmcRegisterSet.X0);
    }

    private readonly record struct Route(SmcFunctionRange Range, ISmcHandler Handler);
}
