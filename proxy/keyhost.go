package proxy

import (
	"bytes"
	"net"
)

// keyHost is the authority as it stands in a cache key: as the client sent it, with
// its port, since an application may put it into links, and who could choose an
// unkeyed port could break those of others. Only when a client has dialled this
// very listener by address, and so the port is the listener's own, is the port left
// out: pods that differ in nothing else then share entries.
func (x *exchange) keyHost() []byte {
	host, port, ok := bytes.Cut(x.host, []byte{':'})
	if !ok || len(port) == 0 || bytes.IndexByte(port, ':') >= 0 || !directHost(host) {
		return x.host
	}
	local, ok := x.localAddr().(*net.TCPAddr)
	if !ok || !portEqual(port, local.Port) {
		return x.host
	}
	return host
}

func (x *exchange) localAddr() net.Addr {
	if x.ctx == nil {
		return x.wire.LocalAddr()
	}
	return x.ctx.LocalAddr()
}

// directHost says whether the host names a machine and not a site.
func directHost(host []byte) bool {
	if string(host) == "localhost" {
		return true
	}
	for _, c := range host {
		if (c < '0' || c > '9') && c != '.' {
			return false
		}
	}
	return len(host) > 0
}

func portEqual(digits []byte, port int) bool {
	n := 0
	for _, c := range digits {
		if c < '0' || c > '9' || n > 65535 {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n == port
}
