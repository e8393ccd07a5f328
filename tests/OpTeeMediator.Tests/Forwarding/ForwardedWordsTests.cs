using System.Runtime.InteropServices;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>What of a guest's message reaches OP-TEE: the words to which the interface gives a meaning, and no
/// others.</summary>
internal sealed class ForwardedWordsTests : ForwarderFixture
{
    private const ulong Garbage = 0xdead_beef_4200_0000;

    // The last message that OP-TEE has got: header and parameters.
    private uint[] _header = [];
    private GuestParameter[] _parameters = [];

    [SetUp]
    public void RecordMessages()
    {
        Bench.OpTee.OnCall = registers =>
        {
            if (registers.FunctionId.Value is OpTeeSmc.CallWithArgument or OpTeeSmc.CallWithRpcArgument)
            {
                Span<byte> message = Bench.Ram.At(registers.Pair(1, 2), OpTeeMessage.PageSize);
                _header = MemoryMarshal.Cast<byte, uint>(message[..OpTeeMessage.HeaderSize]).ToArray();
                _parameters = MemoryMarshal.Cast<byte, GuestParameter>(message[OpTeeMessage.HeaderSize..])
                    [..(int)_header[7]].ToArray();
            }
        };
    }

    // U-Boot's NULL is a registered reference of nothing, Linux's a temporary one.
    [Test]
    public void Invoke_NullReference_ReachesOpTeeAsTemporaryNull(
        [Values(0x5u, 0x6u, 0x7u, 0x9u, 0xau, 0xbu, 0x209u, 0x20au, 0x20bu, 0x40au, 0x8000_0009u)] uint attributes)
    {
        Bench.OpTee.OnInvoke = thread =>
        {
            thread.MessageHeader[5] = 0xffff_0010;
            thread.Parameters[0] = thread.Parameters[0] with { B = 0x30 };
            return [];
        };

        GuestMessage answer = Vm.Driver.Invoke(Vm.Open(), 0, new GuestParameter(attributes, 0, 0, 0));

        Assert.That(answer.ReturnCode, Is.EqualTo(0xffff_0010));
        Assert.That(_parameters,
            Is.EqualTo(new[] { new GuestParameter(OpTeeMessage.TypeTemporaryInput + (attributes & 3) - 1) }));
        Assert.That(answer.Parameters[0].B, Is.EqualTo((attributes & 2) != 0 ? 0x30ul : 0),
            "Outputs carry the size needed.");
    }

    [TestCase(0ul, 1ul)]
    [TestCase(8ul, 0ul)]
    public void Invoke_Cookie0WithOffsetOrSize_BadParameters(ulong offset, ulong size)
    {
        uint session = Vm.Open();

        Assert.That(Vm.Driver.Invoke(session, 0, GuestParameter.RegisteredOut(offset, size, 0)).ReturnCode,
            Is.EqualTo(BadParameters));
        Assert.That(_header[0], Is.EqualTo(OpTeeMessage.CommandOpenSession), "OP-TEE should not have got it.");
    }

    [TestCase(OpTeeMessage.TypeTemporaryInput)]
    [TestCase(OpTeeMessage.TypeTemporaryInOut)]
    public void Invoke_TemporaryReferenceOfSize0_NamesNoMemoryToOpTee(uint type)
    {
        GuestMessage answer =
            Vm.Driver.Invoke(Vm.Open(), 0, new GuestParameter(type, Vm.Driver.AllocatePage() + 0x40, 0, Garbage));

        Assert.That(answer.ReturnCode, Is.Zero);
        Assert.That(_parameters, Is.EqualTo(new[] { new GuestParameter(type) }));
    }

    // OP-TEE keeps the pages of a page list for ever.
    [TestCase(OpTeeMessage.TypeTemporaryInput, ForwarderBench.GuestStart - 1)]
    [TestCase(OpTeeMessage.TypeTemporaryInput, 0xffff_ffff_ffff_f000ul)]
    [TestCase(OpTeeMessage.TypeTemporaryInput | OpTeeMessage.AttributeNonContiguous, ForwarderBench.GuestStart + 0x40)]
    public void Invoke_TemporaryReferenceOfSize0OutsideRamOrAPageList_BadParameters(uint attributes, ulong address) =>
        Assert.That(Vm.Driver.Invoke(Vm.Open(), 0, new GuestParameter(attributes, address, 0, 0)).ReturnCode,
            Is.EqualTo(BadParameters));

    [Test]
    public void Invoke_WordsWithoutMeaning_AreCleared()
    {
        _ = Vm.Share(ForwarderBench.Cookie, 1);
        ulong teeCookie = Vm.Partition.Memory.Single().Cookie;
        uint session = Vm.Open();
        ulong page = Vm.Driver.MessagePage;
        Vm.Driver.WriteMessage(page, new GuestMessage(
            OpTeeMessage.CommandInvoke,
            new GuestParameter(OpTeeMessage.TypeNone, Garbage, Garbage, Garbage),
            new GuestParameter(0x1_0000_0400 | OpTeeMessage.TypeValueInOut, 1, 2, Garbage),
            new GuestParameter(OpTeeMessage.TypeTemporaryOutput, 0, 3, Garbage),
            new GuestParameter(OpTeeMessage.TypeRegisteredInput | OpTeeMessage.AttributeNonContiguous, 4, 5,
                ForwarderBench.Cookie))
        {
            Session = session, Function = 7, CancelId = 8,
        });
        Vm.Driver.Write<uint>(page + 16, [0x4200_0000]);

        Assert.That(Vm.Driver.Finish(Vm.Driver.Start(page, 0, 0)), Is.EqualTo(OpTeeSmc.ReturnOk));

        Assert.That(Vm.Driver.ReadMessage(page, 4).ReturnCode, Is.Zero);
        Assert.That(_header[..5], Is.EqualTo(new uint[] { OpTeeMessage.CommandInvoke, 7, session, 8, 0 }));
        Assert.That(_parameters, Is.EqualTo(new[]
        {
            default,
            new GuestParameter(OpTeeMessage.TypeValueInOut, 1, 2),
            new GuestParameter(OpTeeMessage.TypeTemporaryOutput, 0, 3),
            new GuestParameter(OpTeeMessage.TypeRegisteredInput, 4, 5, teeCookie),
        }));
    }

    [TestCase(OpTeeMessage.CommandOpenSession, 0u, 0u, 8u)]
    [TestCase(OpTeeMessage.CommandInvoke, 7u, 9u, 8u)]
    [TestCase(OpTeeMessage.CommandCloseSession, 0u, 9u, 0u)]
    [TestCase(OpTeeMessage.CommandCancel, 0u, 9u, 8u)]
    [TestCase(OpTeeMessage.CommandRegisterSharedMemory, 0u, 0u, 0u)]
    [TestCase(OpTeeMessage.CommandUnregisterSharedMemory, 0u, 0u, 0u)]
    [TestCase(OpTeeMessage.CommandDoBottomHalf, 0u, 0u, 0u)]
    [TestCase(OpTeeMessage.CommandStopAsyncNotification, 0u, 0u, 0u)]
    public void Header_FieldsWithoutMeaningForTheCommand_AreCleared(uint command, uint function, uint session,
        uint cancelId)
    {
        GuestParameter[] parameters = command switch
        {
            OpTeeMessage.CommandOpenSession => [GuestParameter.Meta(1, 2, 0), GuestParameter.Meta(0, 0, 0)],
            OpTeeMessage.CommandRegisterSharedMemory =>
                [GuestParameter.PageList(Vm.Driver.WritePageList([Vm.Driver.AllocatePage()]), 0x1000,
                    ForwarderBench.Cookie + 1)],
            OpTeeMessage.CommandUnregisterSharedMemory => [GuestParameter.RegisteredIn(0, 0, ForwarderBench.Cookie)],
            _ => [],
        };
        _ = Vm.Share(ForwarderBench.Cookie, 1);

        _ = Vm.Driver.TrySend(new GuestMessage(command, parameters) { Function = 7, Session = 9, CancelId = 8 });

        Assert.That(_header[..5], Is.EqualTo(new[] { command, function, session, cancelId, 0u }));
    }

    [TestCase(OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous)]
    [TestCase(OpTeeMessage.TypeTemporaryInput)]
    [TestCase(OpTeeMessage.TypeValueInput)]
    [TestCase(OpTeeMessage.TypeRegisteredInput)]
    [TestCase(0xffff_ffff_ffff_fffful)]
    public void UnregisterShm_AttributesAndAddresses_OnlyTheCookieReachesOpTee(ulong attributes)
    {
        _ = Vm.Share(ForwarderBench.Cookie, 1);
        ulong teeCookie = Vm.Partition.Memory.Single().Cookie;

        uint answer = Vm.Driver.TrySend(new GuestMessage(
            OpTeeMessage.CommandUnregisterSharedMemory,
                new GuestParameter(attributes, Garbage, Garbage, ForwarderBench.Cookie)));

        Assert.That(answer, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(_parameters, Is.EqualTo(new[] { GuestParameter.RegisteredIn(0, 0, teeCookie) }));
        Assert.That(Vm.Status, Is.EqualTo(OpTeeGuestStatus.Nothing));
    }

    [Test]
    public void OpenSession_ClientAndApplication_ReachOpTeeWhole()
    {
        _ = Vm.Driver.TrySend(
            new GuestMessage(OpTeeMessage.CommandOpenSession, GuestParameter.Meta(1, 2, Garbage),
            GuestParameter.Meta(3, 4, 5)));

        Assert.That(_parameters, Is.EqualTo(new[] { GuestParameter.Meta(1, 2, 0), GuestParameter.Meta(3, 4, 5) }),
            "Only the login has a third word.");
    }

    [Test]
    public void RegisterShm_Size0AtAnOffset_RegistersOnePage()
    {
        ulong page = Vm.Driver.AllocatePage();

        Assert.That(Vm.Driver.Register([page], 0x40, 0, ForwarderBench.Cookie).ReturnCode, Is.Zero);

        Assert.That(Vm.Partition.Memory.Single().Pages, Is.EqualTo(Vm.PhysicalOf([page])));
        Assert.That(Vm.Driver.Register([page], 0, 0, ForwarderBench.Cookie + 1).ReturnCode, Is.EqualTo(BadParameters));
    }
}
