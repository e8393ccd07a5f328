using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.Tests.SoftwareTee;

internal sealed class ParameterTests
{
    private byte[] _content = null!;
    private SoftwareTeeBench _bench = null!;
    private ITeeSession _session = null!;

    [SetUp]
    public async Task OpenAsync()
    {
        _content = [0, 1, 2, 3, 4, 5, 6, 7];
        _bench = new SoftwareTeeBench(SoftwareTeeBench.PerSession);
        _session = await _bench.OpenAsync();
    }

    [TearDown]
    public async Task CloseAsync() => await _bench.DisposeAsync();

    [Test]
    public void HasParameters_AsSent_True()
    {
        TeeRequest request = Request(Value(TeeParameterKind.ValueInput), Memory(TeeParameterKind.MemoryOutput));

        Assert.That(Ask(request,
            call => call.HasParameters(TeeParameterKind.ValueInput, TeeParameterKind.MemoryOutput)), Is.True);
    }

    [Test]
    public void HasParameters_NoneSentNoneExpected_True() =>
        Assert.That(Ask(Request(), call => call.HasParameters()), Is.True);

    [Test]
    public void HasParameters_NoneNamed_True()
    {
        TeeRequest request = Request(default, Value(TeeParameterKind.ValueInOut));

        Assert.That(Ask(request, call => call.HasParameters(TeeParameterKind.None, TeeParameterKind.ValueInOut,
            TeeParameterKind.None, TeeParameterKind.None)), Is.True);
    }

    [Test]
    public void HasParameters_OneMoreSent_False()
    {
        TeeRequest request =
            Request(Value(TeeParameterKind.ValueInput), default, default, Value(TeeParameterKind.ValueInput));

        Assert.That(Ask(request, call => call.HasParameters(TeeParameterKind.ValueInput)), Is.False);
    }

    [Test]
    public void HasParameters_OtherKindSent_False()
    {
        TeeRequest request = Request(Memory(TeeParameterKind.MemoryInput));

        Assert.That(Ask(request, call => call.HasParameters(TeeParameterKind.MemoryInOut)), Is.False);
    }

    [Test]
    public void Value_InOut_IsReadAndWritten()
    {
        TeeRequest request = Request(TeeParameter.Value(TeeParameterKind.ValueInOut, 20, 30));

        _ = Ask(request, call => call[0].A += call[0].B);

        Assert.That(request.Parameters[0].A, Is.EqualTo(50));
        Assert.That(request.Parameters[0].B, Is.EqualTo(30));
    }

    [Test]
    public void Value_WiderThan32Bits_IsCut()
    {
        TeeRequest request = Request(TeeParameter.Value(TeeParameterKind.ValueInput, 0x1_0000_0002, ulong.MaxValue));

        Assert.That(Ask(request, call => (call[0].A, call[0].B)), Is.EqualTo((2u, uint.MaxValue)));
    }

    [Test]
    public void Value_Output_BeginsAtZero()
    {
        TeeRequest request = Request(TeeParameter.Value(TeeParameterKind.ValueOutput, 20, 30));

        Assert.That(Ask(request, call => (call[0].A, call[0].B)), Is.EqualTo((0u, 0u)));
        Assert.That(request.Parameters[0].A, Is.Zero);
    }

    [Test]
    public void TryRead_Within_Copies()
    {
        byte[] copy = new byte[3];

        Assert.That(Ask(Request(Memory(TeeParameterKind.MemoryInput)), call => call[0].TryRead(1, copy)), Is.True);
        Assert.That(copy, Is.EqualTo(new byte[] { 3, 4, 5 }));
    }

    // The reference begins at 2 and has 4 bytes, so that both ends could be overrun within the buffer.
    [TestCase(2)]
    [TestCase(5)]
    [TestCase(-1)]
    [TestCase(int.MaxValue)]
    public void TryRead_Beyond_False(int offset)
    {
        byte[] copy = new byte[3];

        Assert.That(
            Ask(Request(Memory(TeeParameterKind.MemoryInput)), call => call[0].TryRead(offset, copy)), Is.False);
    }

    [Test]
    public void TryReadAll_BufferLongEnough_GivesTheContent()
    {
        byte[] content = Ask(Request(Memory(TeeParameterKind.MemoryInput)), call => ReadAll(call[0], 16));

        Assert.That(content, Is.EqualTo(new byte[] { 2, 3, 4, 5 }));
    }

    [Test]
    public void TryReadAll_BufferTooShort_False()
    {
        Assert.That(Ask(Request(Memory(TeeParameterKind.MemoryInput)), call => call[0].TryReadAll(new byte[3], out _)),
            Is.False);
    }

    [Test]
    public void TryReadAll_NullWithoutSize_IsEmpty()
    {
        TeeRequest request = Request(TeeParameter.Reference(TeeParameterKind.MemoryInput, null, 0, 0));

        Assert.That(Ask(request, call => ReadAll(call[0], 16)), Is.Empty);
    }

    [Test]
    public void TryReadAll_NullWithSize_False()
    {
        TeeRequest request = Request(TeeParameter.Reference(TeeParameterKind.MemoryInput, null, 0, 4));

        Assert.That(Ask(request, call => call[0].TryReadAll(new byte[16], out _)), Is.False);
    }

    [Test]
    public void TryWrite_Within_WritesThere()
    {
        Assert.That(Ask(Request(Memory(TeeParameterKind.MemoryOutput)), call => call[0].TryWrite(2, [8, 9])), Is.True);
        Assert.That(_content, Is.EqualTo(new byte[] { 0, 1, 2, 3, 8, 9, 6, 7 }));
    }

    [TestCase(3)]
    [TestCase(-1)]
    public void TryWrite_Beyond_FalseAndNothingWritten(int offset)
    {
        Assert.That(
            Ask(Request(Memory(TeeParameterKind.MemoryOutput)), call => call[0].TryWrite(offset, [8, 9])), Is.False);
        Assert.That(_content, Is.EqualTo(new byte[] { 0, 1, 2, 3, 4, 5, 6, 7 }));
    }

    [Test]
    public void Write_Fits_TellsTheSize()
    {
        TeeRequest request = Request(Memory(TeeParameterKind.MemoryInOut));

        Assert.That(Ask(request, call => call[0].Write([8, 9, 10])), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(request.Parameters[0].Size, Is.EqualTo(3));
        Assert.That(_content, Is.EqualTo(new byte[] { 0, 1, 8, 9, 10, 5, 6, 7 }));
    }

    [Test]
    public void Write_TooLong_ShortBufferWithTheSizeNeeded()
    {
        TeeRequest request = Request(Memory(TeeParameterKind.MemoryOutput));

        Assert.That(Ask(request, call => call[0].Write([8, 9, 10, 11, 12])), Is.EqualTo(TeeReturnCode.ShortBuffer));
        Assert.That(request.Parameters[0].Size, Is.EqualTo(5));
        Assert.That(_content, Is.EqualTo(new byte[] { 0, 1, 2, 3, 4, 5, 6, 7 }));
    }

    [Test]
    public void Write_NullReference_ShortBufferWithTheSizeNeeded()
    {
        TeeRequest request = Request(TeeParameter.Reference(TeeParameterKind.MemoryOutput, null, 0, 0));

        Assert.That(Ask(request, call => call[0].Write([8])), Is.EqualTo(TeeReturnCode.ShortBuffer));
        Assert.That(request.Parameters[0].Size, Is.EqualTo(1));
    }

    [Test]
    public void Write_NothingIntoNull_Success()
    {
        TeeRequest request = Request(TeeParameter.Reference(TeeParameterKind.MemoryOutput, null, 0, 0));

        Assert.That(Ask(request, call => call[0].Write([])), Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public void ShortBuffer_Any_TellsTheSizeNeeded()
    {
        TeeRequest request = Request(Memory(TeeParameterKind.MemoryOutput));

        Assert.That(Ask(request, call => call[0].ShortBuffer(32)), Is.EqualTo(TeeReturnCode.ShortBuffer));
        Assert.That(request.Parameters[0].Size, Is.EqualTo(32));
    }

    [Test]
    public void Size_AfterSetSize_IsStillTheClients()
    {
        TeeRequest request = Request(Memory(TeeParameterKind.MemoryOutput));

        int size = Ask(request, call =>
        {
            call[0].SetSize(1);
            return call[0].Size;
        });

        Assert.That(size, Is.EqualTo(4));
    }

    [Test]
    public void Write_Input_Throws() => Assert.That(
        Ask(Request(Memory(TeeParameterKind.MemoryInput)), call => Record(() => call[0].Write([8]))),
        Is.InstanceOf<InvalidOperationException>());

    [Test]
    public void A_OfMemory_Throws() => Assert.That(
        Ask(Request(Memory(TeeParameterKind.MemoryInput)), call => Record(() => call[0].A = 1)),
        Is.InstanceOf<InvalidOperationException>());

    [Test]
    public void Size_OfAValue_Throws() => Assert.That(
        Ask(Request(Value(TeeParameterKind.ValueInput)), call => Record(() => call[0].Size)),
        Is.InstanceOf<InvalidOperationException>());

    [Test]
    public void InvokeCommand_ReferenceLongerThanInt_OutOfMemoryFromTee()
    {
        TeeRequest request = Request(TeeParameter.Reference(TeeParameterKind.MemoryOutput, null, 0, 0x8000_0000));

        TeeResult result = _session.InvokeCommandAsync(request).AsTask().Result;

        Assert.That(result, Is.EqualTo(TeeResult.FromTee(TeeReturnCode.OutOfMemory)));
        Assert.That(_bench.Instances.Single().Journal, Does.Not.Contain("InvokeCommand 0"));
        Assert.That(Ask(Request(), call => call.HasParameters()), Is.True, "The session must still work.");
    }

    [Test]
    public void Call_KeptAfterItsOperation_ShowsNothing()
    {
        ApplicationCall kept = Ask(Request(Value(TeeParameterKind.ValueInput)), call => call);

        Assert.That(kept[0].Kind, Is.EqualTo(TeeParameterKind.None));
        Assert.That(kept.HasParameters());
        Assert.That(kept.CancellationToken, Is.EqualTo(CancellationToken.None));
    }

    private static TeeParameter Value(TeeParameterKind kind) => TeeParameter.Value(kind, 1, 2);

    private static TeeRequest Request(params ReadOnlySpan<TeeParameter> parameters) =>
        SoftwareTeeBench.Command(0, parameters);

    private static byte[] ReadAll(ApplicationParameter parameter, int length)
    {
        Assert.That(parameter.TryReadAll(new byte[length], out ReadOnlySpan<byte> content));
        return content.ToArray();
    }

    private static InvalidOperationException? Record<T>(Func<T> action)
    {
        try
        {
            _ = action();
            return null;
        }
        catch (InvalidOperationException exception)
        {
            return exception;
        }
    }

    private TeeParameter Memory(TeeParameterKind kind) =>
        TeeParameter.Reference(kind, new ArraySharedMemory(_content), 2, 4);

    /// <summary>Asks the call from within the entry point.</summary>
    private T Ask<T>(TeeRequest request, Func<ApplicationCall, T> question)
    {
        T answer = default!;
        _bench.Instances.Single().WhenInvoked = call =>
        {
            answer = question(call);
            return new(TeeReturnCode.Success);
        };
        Assert.That(_session.InvokeCommandAsync(request).AsTask().Result, Is.EqualTo(TeeResult.Success));
        return answer;
    }
}
