package pillion

import (
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pillion-proxy/pillion/internal/strictyaml"
)

func (v *validator) listen() {
	const remedy = `write host:port, such as ":8080", unix:/path/to/socket, or off`
	if v.cfg.Listen == Off {
		return
	}
	if path, ok := strings.CutPrefix(v.cfg.Listen, "unix:"); ok {
		if !socketPath(path) {
			v.add("listen", v.cfg.Listen, "has no absolute path of a socket of at most 107 bytes", "write unix:/path/to/socket")
		}
		return
	}
	v.hostPort("listen", v.cfg.Listen, remedy, true)
}

func (v *validator) admin() {
	a := v.cfg.Admin
	for _, c := range a.Token {
		if c <= ' ' || c > '~' {
			v.add("admin.token", a.Token, "has a space or a character outside ASCII", "write letters, digits and signs only")
			break
		}
	}
	if a.Listen == Off {
		return
	}
	const remedy = "write host:port, such as 127.0.0.1:9900, or off"
	if !v.hostPort("admin.listen", a.Listen, remedy, true) {
		return
	}
	if a.Token == "" && !isLoopback(a.Listen) {
		v.add("admin.token", "", "is empty, while other machines can reach admin.listen "+strconv.Quote(a.Listen),
			"set it, such as by PILLION_ADMIN_TOKEN, or listen on 127.0.0.1")
	}
	if samePort(v.cfg.Listen, a.Listen) {
		key := "admin.listen"
		if !v.isSet(key) && v.isSet("listen") {
			key = "listen"
		}
		v.add(key, valueOf(key, v.cfg.Listen, a.Listen), "is the port of both listen and admin.listen", "give each a port of its own")
	}
}

func valueOf(key, listen, admin string) string {
	if key == "listen" {
		return listen
	}
	return admin
}

// hostPort reports an address that is not host:port. Only one to listen on may
// lack the host or have port 0.
func (v *validator) hostPort(key, text, remedy string, listening bool) bool {
	host, port, err := net.SplitHostPort(text)
	switch {
	case text == "":
		v.add(key, "", "is empty", remedy)
	case err != nil:
		v.add(key, text, "is not an address", remedy)
	case !portNumber(port, false) || port == "0" && !listening:
		v.add(key, text, "has no valid port", "write a port from 1 to 65535")
	case !hostName(host) && !(host == "" && listening):
		v.add(key, text, "has no valid host", remedy)
	default:
		return true
	}
	return false
}

// element gives the key to report for an entry of a list: the entry, or the
// whole list when that came from a variable.
func (v *validator) element(list string, i int) string {
	key := list + "[" + strconv.Itoa(i) + "]"
	if v.isSet(list) && !v.isSet(key) {
		return list
	}
	return key
}

func portNumber(port string, mayBeAbsent bool) bool {
	if port == "" {
		return mayBeAbsent
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && (n > 0 || !mayBeAbsent)
}

// hostName says whether s is an IP address or a name of letters, digits, dots,
// hyphens and underscores.
func hostName(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range label {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return len(s) <= 253
}

// socketPath says whether a Unix socket can have this path: the kernel's
// address holds 108 bytes, one of them the end.
func socketPath(path string) bool {
	return filepath.IsAbs(path) && len(path) <= 107 && !strings.HasSuffix(path, "/")
}

func isLoopback(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// samePort says whether two listeners would want one port of one address.
func samePort(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || isWildcard(hostA) || isWildcard(hostB)
}

func isWildcard(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "" || err == nil && a.IsUnspecified()
}

// bounded reports a text that is empty, too long, or has a space or a control
// character in it.
func (v *validator) bounded(key, text, remedy string) bool {
	switch {
	case text == "":
		v.add(key, "", "is empty", remedy)
	case len(text) > 512:
		v.add(key, text, "has more than 512 bytes", "write a shorter text")
	case strings.IndexFunc(text, func(c rune) bool { return c <= ' ' || c == 0x7f }) >= 0:
		v.add(key, text, "has a space or a control character", remedy)
	default:
		return true
	}
	return false
}

// keyPath names a key of a mapping whose keys the user chooses.
func keyPath(path, name string) string { return strictyaml.KeyPath(path, name) }
