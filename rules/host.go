package rules

import (
	"bytes"
	"fmt"
	"strings"
)

// maxHost is the longest host name that can match; DNS allows no longer one.
const maxHost = 255

// compileHosts gives the names in lower case; those of subdomains keep their "*.".
func compileHosts(hosts []string, c *collector) []string {
	var out []string
	for i, h := range hosts {
		field := fmt.Sprintf("hosts[%d]", i)
		name := strings.TrimSuffix(strings.ToLower(h), ".")
		base := strings.TrimPrefix(name, "*.")
		ipv6 := strings.HasPrefix(base, "[") && strings.HasSuffix(base, "]")
		switch {
		case strings.Contains(base, "*"):
			c.add(field, h, "has * in another place than the front", `write "*.example.com" for subdomains; leave hosts out for every host`)
		case strings.Contains(base, ":") && !ipv6:
			c.add(field, h, "has a port or a scheme", "write the host name alone, an IPv6 address in brackets")
		case !ipv6 && !isHostName(base), ipv6 && name != base, len(base) > maxHost:
			c.add(field, h, "is not a host name", "write a name such as www.example.com; a name with other letters in its xn-- form")
		default:
			out = append(out, name)
		}
	}
	return out
}

func isHostName(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isLetter(s[i]) && !isDigit(s[i]) && strings.IndexByte("-._", s[i]) < 0 {
			return false
		}
	}
	return s != "" && s[0] != '.' && !strings.Contains(s, "..")
}

// lowerHost writes the host without its port and final dot, in lower case, to buf.
// It gives nil for a host that is too long to match.
func lowerHost(host []byte, buf *[maxHost]byte) []byte {
	end := len(host)
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && i > bytes.LastIndexByte(host, ']') {
		end = i
	}
	if end > 0 && host[end-1] == '.' {
		end--
	}
	if end > len(buf) {
		return nil
	}
	for i, c := range host[:end] {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		buf[i] = c
	}
	return buf[:end]
}
