using System.CommandLine;
using System.Globalization;

namespace KvmVmm.CommandLine;

/// <summary>Creates options, and reads a command line.</summary>
/// <remarks>An option that is there several times has its last value.</remarks>
internal static class OptionFactory
{
    // Each argument is what it says: neither several short options in one, nor a file of arguments.
    private static readonly ParserConfiguration Plain =
        new() { EnablePosixBundling = false, ResponseFileTokenReplacer = null };

    /// <summary>Reads a command line.</summary>
    /// <param name="command">What it may say.</param>
    /// <param name="arguments">What it says.</param>
    /// <returns>The result.</returns>
    public static ParseResult Parse(RootCommand command, string[] arguments) => command.Parse(arguments, Plain);

    /// <summary>An option whose value is any text.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="value">What the help calls its value.</param>
    /// <param name="description">What it does.</param>
    /// <returns>The option.</returns>
    public static Option<string?> Text(string name, string value, string description) => new(name)
    {
        HelpName = value,
        Description = description,
        Arity = ArgumentArity.ExactlyOne,
        AllowMultipleArgumentsPerToken = true,
    };

    /// <summary>An option whose value is a number.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="value">What the help calls its value.</param>
    /// <param name="description">What it does.</param>
    /// <param name="lowest">The lowest number.</param>
    /// <param name="highest">The highest number.</param>
    /// <param name="standard">The number without the option.</param>
    /// <returns>The option.</returns>
    public static Option<int> Number(
        string name, string value, string description, int lowest, int highest, int standard)
    {
        Option<int> option = Parsed(
            name,
            value,
            $"{description}, {lowest} to {highest}",
            $"a number from {lowest} to {highest}",
            (string text, out int number) =>
                int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number)
                && number >= lowest
                && number <= highest);
        option.DefaultValueFactory = _ => standard;
        return option;
    }

    /// <summary>An option whose value is a text that is read.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="value">What the help calls its value.</param>
    /// <param name="description">What it does.</param>
    /// <param name="expected">What a wrong value should have been.</param>
    /// <param name="parse">Reads the text.</param>
    /// <returns>The option.</returns>
    public static Option<T> Parsed<T>(
        string name, string value, string description, string expected, ValueParser<T> parse) => new(name)
        {
            HelpName = value,
            Description = description,
            Arity = ArgumentArity.ExactlyOne,
            AllowMultipleArgumentsPerToken = true,
            CustomParser = result =>
            {
                string text = result.Tokens[^1].Value;
                if (!parse(text, out T found))
                {
                    result.AddError($"{name}: expected {expected}, found '{text}'");
                }

                return found;
            },
        };
}
