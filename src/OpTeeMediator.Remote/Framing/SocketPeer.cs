using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Remote.Framing;

/// <summary>Who is on the other side of a Unix socket, by the kernel's word.</summary>
internal static class SocketPeer
{
    /// <summary>The process that has connected.</summary>
    /// <exception cref="SocketException">The kernel does not say.</exception>
    public static PeerCredentials Of(Socket socket)
    {
        Span<byte> bytes = stackalloc byte[Unsafe.SizeOf<PeerCredentials>()];
        _ = socket.GetRawSocketOption(LibC.SOL_SOCKET, LibC.SO_PEERCRED, bytes);
        return MemoryMarshal.Read<PeerCredentials>(bytes);
    }
}
