namespace OpTeeMediator.Forwarding;

/// <summary>For whom a call is made, and so whether anybody reads its results.</summary>
internal enum CallOwner
{
    /// <summary>The guest's present driver, which gets the results.</summary>
    Driver,

    /// <summary>A driver that has ended: its memory may be the new driver's, so nothing is written there.</summary>
    EarlierDriver,

    /// <summary>The forwarder, with a message of its own: to clean up after a driver.</summary>
    Forwarder,
}
