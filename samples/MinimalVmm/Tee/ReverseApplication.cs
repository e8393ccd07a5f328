namespace MinimalVmm.Tee;

internal static class ReverseApplication
{
    public static readonly Guid Uuid = new("6d2f4f5e-3a53-4b0e-9a3c-1f0d7c9be001");
    public const uint ReverseNumbers = 1;
    public const uint ReverseBytes = 2;
}
