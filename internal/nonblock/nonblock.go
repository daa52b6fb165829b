// Package nonblock reads and writes sockets that do not block.
//
// The calls are over in microseconds whatever happens, so on Linux the scheduler is not
// told of them, as package syscall does: that would cost a tenth of the call.
package nonblock
