namespace OpTeeMediator.Litmus;

/// <summary>A variable of its own on the heap.</summary>
internal sealed class Box<T>
{
    private T _value = default!;

    public ref T Value => ref _value;
}
