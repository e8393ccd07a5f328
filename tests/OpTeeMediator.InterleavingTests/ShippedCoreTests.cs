using System.Reflection;
using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;
using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.InterleavingTests;

public sealed class ShippedCoreTests
{
    private const byte Call = 0x28;

    [Test]
    public void ShippedCore_Compiled_HasNoInterleavingPoint() => Assert.That(
        CallsIn(Path.Combine(AppContext.BaseDirectory, "OpTeeMediator.dll")), Is.Zero,
        "The shipped core calls no interleaving point.");

    [Test]
    public void CoreOfThisProject_Compiled_HasInterleavingPoints() => Assert.That(
        CallsIn(Assembly.GetExecutingAssembly().Location), Is.Positive,
        "The test beside this one looks for what is found here.");

    /// <summary>How often an assembly's code calls <see cref="InterleavingPoint.Reach"/>.</summary>
    private static int CallsIn(string path)
    {
        using PEReader file = new(File.OpenRead(path));
        MetadataReader metadata = file.GetMetadataReader();
        byte[] call = [Call, .. BitConverter.GetBytes(MetadataTokens.GetToken(FindReach(metadata)))];
        int calls = 0;
        foreach (MethodDefinitionHandle handle in metadata.MethodDefinitions)
        {
            int address = metadata.GetMethodDefinition(handle).RelativeVirtualAddress;
            ReadOnlySpan<byte> code = address == 0 ? default : file.GetMethodBody(address).GetILBytes();
            calls += code.Count(call);
        }

        return calls;
    }

    private static MethodDefinitionHandle FindReach(MetadataReader metadata)
    {
        foreach (MethodDefinitionHandle handle in metadata.MethodDefinitions)
        {
            MethodDefinition method = metadata.GetMethodDefinition(handle);
            TypeDefinition type = metadata.GetTypeDefinition(method.GetDeclaringType());
            if (metadata.StringComparer.Equals(type.Name, nameof(InterleavingPoint))
                && metadata.StringComparer.Equals(method.Name, nameof(InterleavingPoint.Reach)))
            {
                return handle;
            }
        }

        throw new InvalidOperationException("The assembly is not the core.");
    }
}
