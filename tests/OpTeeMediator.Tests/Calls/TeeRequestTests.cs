using OpTeeMediator.Backends;

namespace OpTeeMediator.Tests.Calls;

internal sealed class TeeRequestTests
{
    [TestCase(TeeParameterKind.ValueInput)]
    [TestCase(TeeParameterKind.ValueOutput)]
    [TestCase(TeeParameterKind.ValueInOut)]
    public void SetValue_Value_SetsBothNumbers(TeeParameterKind kind)
    {
        TeeRequest request = new(default, TeeParameter.Value(kind, 1, 2));

        request.SetValue(1, 3, 4);

        Assert.That((request.Parameters[1].A, request.Parameters[1].B), Is.EqualTo((3ul, 4ul)));
    }

    [TestCase(TeeParameterKind.MemoryInput)]
    [TestCase(TeeParameterKind.MemoryOutput)]
    [TestCase(TeeParameterKind.MemoryInOut)]
    public void SetSize_Memory_SetsTheSizeAlone(TeeParameterKind kind)
    {
        TeeRequest request = new(TeeParameter.Reference(kind, null, 16, 32));

        request.SetSize(0, 100);

        TeeParameter memory = request.Parameters[0];
        Assert.That((memory.Offset, memory.Size, memory.Capacity), Is.EqualTo((16ul, 100ul, 32ul)));
    }

    [Test]
    public void SetValueAndSetSize_OtherKind_DoNothing()
    {
        TeeRequest request = new(
            TeeParameter.Reference(TeeParameterKind.MemoryInOut, null, 16, 32),
            TeeParameter.Value(TeeParameterKind.ValueInOut, 1, 2));

        request.SetValue(0, 7, 8);
        request.SetSize(1, 9);
        request.SetValue(2, 7, 8);
        request.SetSize(2, 9);

        Assert.That((request.Parameters[0].Offset, request.Parameters[0].Size), Is.EqualTo((16ul, 32ul)));
        Assert.That((request.Parameters[1].A, request.Parameters[1].B), Is.EqualTo((1ul, 2ul)));
        Assert.That((request.Parameters[2].A, request.Parameters[2].B), Is.EqualTo((0ul, 0ul)));
    }

    [TestCase(-1)]
    [TestCase(4)]
    public void SetValueAndSetSize_NoSuchParameter_Throw(int index)
    {
        TeeRequest request = new();

        Assert.That(() => request.SetValue(index, 0, 0), Throws.InstanceOf<IndexOutOfRangeException>());
        Assert.That(() => request.SetSize(index, 0), Throws.InstanceOf<IndexOutOfRangeException>());
    }

    [Test]
    public void Constructor_FiveParameters_Throws() =>
        Assert.That(
            () => new TeeRequest(default, default, default, default, default),
            Throws.InstanceOf<ArgumentOutOfRangeException>());
}
