using ArchUnitNET.Domain;
using ArchUnitNET.Domain.Dependencies;
using ArchUnitNET.Loader;
using OpTeeMediator.Backends;
using OpTeeMediator.Kvm;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Remote;
using OpTeeMediator.SoftwareTee;

namespace OpTeeMediator.Tests.Imports;

/// <summary>Imports point down: docs/architecture.md names the layers of folders.</summary>
internal sealed class ImportTests
{
    private static readonly System.Reflection.Assembly[] Products =
    [
        typeof(ITeeBackend).Assembly,
        typeof(KvmSystem).Assembly,
        typeof(OpTeeCompanion).Assembly,
        typeof(RemoteTeeBackend).Assembly,
        typeof(SoftwareTeeBackend).Assembly,
    ];

    [TestCaseSource(nameof(Products))]
    public void Folders_OfAProject_HaveNoCircle(System.Reflection.Assembly product) =>
        Assert.That(Load(product, type => type.Namespace.FullName).Circles().Select(Join), Is.Empty);

    // A circle of files is read as one piece.
    [TestCaseSource(nameof(Products))]
    public void Files_OfAProject_HaveNoCircleOfMoreThanThree(System.Reflection.Assembly product) => Assert.That(
        Load(product, FileOf).Circles().Where(circle => circle.Length > 3).Select(Join),
        Is.Empty);

    [Test]
    public void Graph_OfTheCore_HasWhatIsUsed()
    {
        DependencyGraph folders = Load(typeof(ITeeBackend).Assembly, type => type.Namespace.FullName);

        Assert.That(folders.Uses("OpTeeMediator.Guests", "OpTeeMediator.Calls"));
    }

    [Test]
    public void Circles_OfAGraphWithOne_AreFound()
    {
        DependencyGraph graph = new();
        graph.Add("a", "b");
        graph.Add("b", "c");
        graph.Add("c", "b");

        Assert.That(graph.Circles().Select(Join), Is.EqualTo(["b c"]));
    }

    private static string Join(string[] circle) => string.Join(' ', circle);

    private static DependencyGraph Load(System.Reflection.Assembly product, Func<IType, string> nameOf)
    {
        DependencyGraph graph = new();
        foreach (IType type in new ArchLoader().LoadAssembly(product).Build().Types.Where(IsOurs))
        {
            foreach (ITypeDependency dependency in type.Dependencies.Where(dependency => IsOurs(dependency.Target)))
            {
                if (dependency.Target.Assembly.FullName == type.Assembly.FullName)
                {
                    graph.Add(nameOf(type), nameOf(dependency.Target));
                }
            }
        }

        return graph;

        // A type parameter has no namespace.
        static bool IsOurs(IType type) =>
            type.Namespace?.FullName.StartsWith("OpTeeMediator", StringComparison.Ordinal) ?? false;
    }

    /// <summary>One type a file: a nested type belongs to the file of the outermost one.</summary>
    private static string FileOf(IType type) => type.FullName.Split('+', '`')[0];
}
