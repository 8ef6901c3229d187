/*
 * The I/O ports by which a guest enters the host. `out %al, $port` at CPL 3
 * is the only way out of a guest besides a system call and a fault; the value
 * of AL has no meaning unless a port says so. This is the one table of ports:
 * the I/O permission bitmap and the run loop derive from it. (A byte is written,
 * because a wider write would need the permission for the ports next to it.)
 */
#ifndef MAYFLY_ABI_PORTS_H
#define MAYFLY_ABI_PORTS_H

/*
 * port(number, NAME, registers read by the host, meaning)
 */
#define MF_ABI_PORTS(port)                                                     \
    port(0xb0, READY, "none", "every posted call is answered; waits for more") \
    port(0xb1, HOSTCALL, "RDI = offset of a frame in the exchange area",       \
         "the frame is a HOST_CALL, or the RESULT or ERROR of a nested CALL")  \
    port(0xb2, LOG, "RDI = text, RSI = length, EDX = enum mf_abi_log_level",   \
         "one log line")                                                       \
    port(0xb3, ABORT, "RDI = text, RSI = length", "gives up; does not return")

enum mf_abi_port {
#define MF_ABI_PORT_ENUM(number, name, regs, text) MF_ABI_PORT_##name = number,
    MF_ABI_PORTS(MF_ABI_PORT_ENUM)
#undef MF_ABI_PORT_ENUM
};

/* The ports that a guest may use are MF_ABI_PORT_FIRST .. MF_ABI_PORT_LAST. */
#define MF_ABI_PORT_FIRST 0xb0
#define MF_ABI_PORT_LAST 0xb3

enum mf_abi_log_level {
    MF_ABI_LOG_ERROR = 0,
    MF_ABI_LOG_WARNING = 1,
    MF_ABI_LOG_INFO = 2,
    MF_ABI_LOG_DEBUG = 3,
};

/* Longer log lines and abort messages are cut by the host. */
#define MF_ABI_TEXT_MAX 4096

#endif
