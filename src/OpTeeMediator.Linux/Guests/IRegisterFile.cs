namespace OpTeeMediator.Linux.Guests;

/// <summary>Access to a vCPU's X0–X17, each of which costs. Tests put their own in KVM's place.</summary>
internal interface IRegisterFile
{
    /// <summary>Reads Xn.</summary>
    ulong Read(int index);

    /// <summary>Writes Xn.</summary>
    void Write(int index, ulong value);

    /// <summary>Moves the program counter back by the bytes of the last instruction, to execute it again.</summary>
    void MoveBack(int length);
}
