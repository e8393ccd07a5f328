namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>
/// Names a record of a VM in an <see cref="ITeeStore"/>. The object's number is random and tells nothing of its id.
/// </summary>
/// <param name="Application">The trusted application that the record belongs to.</param>
/// <param name="Object">The number of the object.</param>
/// <param name="Part">Which part of the object, 0 or more.</param>
public readonly record struct TeeStoreKey(Guid Application, Guid Object, int Part);
