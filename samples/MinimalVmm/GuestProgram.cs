using System.Runtime.InteropServices;
using Iced.Intel;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using static Iced.Intel.AssemblerRegisters;

namespace MinimalVmm;

/// <summary>The guest: it opens a session, shares two pages, has a text reversed, and prints the result.</summary>
/// <remarks>
/// The messages (<c>struct optee_msg_arg</c>) are data that is there from the beginning; Iced assembles the code. An
/// x86 guest has no <c>smc</c>: it writes to <see cref="SmcPort"/> instead, with X0 to X7 in R8 to R15.
/// </remarks>
internal sealed class GuestProgram(IGuestMemory memory)
{
    /// <summary>An OUT to this port stands for <c>smc #0</c>.</summary>
    public const byte SmcPort = 0x5c;

    /// <summary>The console: AL is a character.</summary>
    public const byte ConsolePort = 0xe9;

    /// <summary>Ends the program: AL is the exit code.</summary>
    public const byte ExitPort = 0xf4;

    /// <summary>Where the code begins.</summary>
    public const ulong Entry = 0x4001_0000;

    private const ulong PageSize = 4096;
    private const ulong PageList = 0x4010_0000;
    private const ulong ExpectedText = 0x4010_1000;
    private const ulong FirstMessage = 0x4010_2000;

    // The shared buffer: two pages that are not adjacent, one after the other in the page list.
    private const ulong InputPage = 0x4018_3000;
    private const ulong OutputPage = 0x4018_1000;
    private const ulong Cookie = 0xffff_0000_0938_55a0;

    // Offsets in struct optee_msg_arg: session and cancel_id; pad and ret.
    private const int SessionOffset = 8;
    private const int ReturnOffset = 16;

    private static readonly string[] CommandNames =
        ["OPEN_SESSION", "INVOKE_COMMAND", "CLOSE_SESSION", "CANCEL", "REGISTER_SHM", "UNREGISTER_SHM"];

    private readonly Assembler _code = new(64);
    private Label _failed;
    private ulong _nextMessage = FirstMessage;

    /// <summary>The guest's RAM.</summary>
    public static GuestRange Ram => new(0x4000_0000, 2 << 20);

    private static ReadOnlySpan<byte> Text => "Hello from OP-TEE!\n"u8;

    /// <summary>Puts code and data into a guest's RAM.</summary>
    public static void Load(IGuestMemory memory) => new GuestProgram(memory).Load();

    /// <summary>The name of a message's command, without OPTEE_MSG_CMD_.</summary>
    public static string NameOf(uint command) => command < CommandNames.Length ? CommandNames[command] : "unknown";

    private void Load()
    {
        byte[] reversed = Text.ToArray();
        reversed.AsSpan().Reverse();
        Write(InputPage, reversed);
        Write(ExpectedText, Text);
        Write(PageList, MemoryMarshal.AsBytes<ulong>([InputPage, OutputPage]));

        _failed = _code.CreateLabel();
        Smc(OpTeeSmc.ExchangeCapabilities, 1, 0);
        Send(Message(
            OpTeeMessage.CommandRegisterSharedMemory,
            0,
            [OpTeeMessage.TypeTemporaryOutput | OpTeeMessage.AttributeNonContiguous, PageList, 2 * PageSize, Cookie]));

        const uint Meta = OpTeeMessage.TypeValueInput | OpTeeMessage.AttributeMeta;
        byte[] uuid = ReverseApplication.Uuid.ToByteArray(bigEndian: true);
        ulong open = Message(
            OpTeeMessage.CommandOpenSession,
            0,
            [Meta, BitConverter.ToUInt64(uuid), BitConverter.ToUInt64(uuid, 8), 0],
            [Meta, 0, 0, 0]);
        Send(open);

        ulong invoke = Message(
            OpTeeMessage.CommandInvoke,
            ReverseApplication.Reverse,
            [OpTeeMessage.TypeRegisteredInput, 0, (ulong)Text.Length, Cookie],
            [OpTeeMessage.TypeRegisteredOutput, PageSize, PageSize, Cookie]);
        CopySession(open, invoke);
        Send(invoke);

        ulong close = Message(OpTeeMessage.CommandCloseSession, 0);
        CopySession(open, close);
        Send(close);
        Send(Message(OpTeeMessage.CommandUnregisterSharedMemory, 0, [OpTeeMessage.TypeRegisteredInput, 0, 0, Cookie]));

        PrintResult();
        Exit(0);
        _code.Label(ref _failed);
        Exit(1);

        using MemoryStream machineCode = new();
        _ = _code.Assemble(new StreamCodeWriter(machineCode), Entry);
        Write(Entry, machineCode.ToArray());
    }

    private void Write(ulong address, ReadOnlySpan<byte> bytes)
    {
        if (!memory.TryWrite(address, bytes))
        {
            throw new InvalidOperationException($"0x{address:x} is not in the guest's RAM.");
        }
    }

    // A message with parameters of four numbers: attribute, a, b, c.
    private ulong Message(uint command, uint function, params ReadOnlySpan<ulong[]> parameters)
    {
        ulong message = _nextMessage;
        _nextMessage += PageSize; // CALL_WITH_ARG takes only addresses of pages
        Write(message, MemoryMarshal.AsBytes<uint>([command, function, 0, 0, 0, 0, 0, (uint)parameters.Length]));
        for (int index = 0; index < parameters.Length; index++)
        {
            Write(message + (ulong)OpTeeMessage.Size(index), MemoryMarshal.AsBytes<ulong>(parameters[index]));
        }

        return message;
    }

    private void CopySession(ulong from, ulong to)
    {
        _code.mov(rdi, from);
        _code.mov(rax, __qword_ptr[rdi + SessionOffset]);
        _code.mov(rdi, to);
        _code.mov(__qword_ptr[rdi + SessionOffset], rax);
    }

    // Sends a message; the SMC and the message's return code must be 0.
    private void Send(ulong message)
    {
        Smc(OpTeeSmc.CallWithArgument, message >> 32, (uint)message);
        _code.mov(rdi, message);
        _code.cmp(__qword_ptr[rdi + ReturnOffset], 0);
        _code.jne(_failed);
    }

    // Calls until X0 is not "resume me after your interrupts"; it must be 0 then.
    private void Smc(uint function, ulong x1, ulong x2)
    {
        Label call = _code.CreateLabel();
        Label done = _code.CreateLabel();
        AssemblerRegister64[] registers = [r8, r9, r10, r11, r12, r13, r14, r15];
        ulong[] values = [function, x1, x2, 0, 0, 0, 0, 0];
        for (int index = 0; index < registers.Length; index++)
        {
            _code.mov(registers[index], values[index]);
        }

        _code.Label(ref call);
        _code.@out(SmcPort, al);
        _code.mov(rax, (ulong)OpTeeSmc.ReturnRpcForeignInterrupt);
        _code.cmp(r8, rax);
        _code.jne(done);
        _code.mov(r8, (ulong)OpTeeSmc.ReturnFromRpc);
        _code.jmp(call);
        _code.Label(ref done);
        _code.cmp(r8, 0);
        _code.jne(_failed);
    }

    // Prints the second page of the buffer; it must be the expected text.
    private void PrintResult()
    {
        Label next = _code.CreateLabel();
        _code.mov(rsi, OutputPage);
        _code.mov(rdi, ExpectedText);
        _code.mov(rbx, OutputPage + (ulong)Text.Length);
        _code.Label(ref next);
        _code.movzx(rax, __byte_ptr[rsi]);
        _code.movzx(rcx, __byte_ptr[rdi]);
        _code.cmp(rax, rcx);
        _code.jne(_failed);
        _code.@out(ConsolePort, al);
        _code.inc(rsi);
        _code.inc(rdi);
        _code.cmp(rsi, rbx);
        _code.jne(next);
    }

    private void Exit(ulong code)
    {
        _code.mov(rax, code);
        _code.@out(ExitPort, al);
    }
}
