package apptest

import (
	"fmt"
	"slices"
	"strings"
)

// CheckForwarded says what is wrong with a request that a proxy has sent, beyond
// what the strict reader refuses: every application must take it for the same one
// request.
func CheckForwarded(m *Message) error {
	if m.Version != "HTTP/1.1" {
		return fmt.Errorf("version %q", m.Version)
	}
	if hosts := m.Values("Host"); len(hosts) != 1 {
		return fmt.Errorf("%d Host fields: %q", len(hosts), hosts)
	}
	if strings.ContainsFunc(m.Target, func(r rune) bool { return r > '~' || r == '#' || r == '\\' }) {
		return fmt.Errorf("target %q", m.Target)
	}
	upgrade := isUpgrade(m)
	for _, f := range m.Fields {
		if err := checkField(f, upgrade); err != nil {
			return err
		}
	}
	for _, f := range m.Trailers {
		if slices.Contains(neverTrailers(), strings.ReplaceAll(strings.ToLower(f.Name), "_", "-")) {
			return fmt.Errorf("trailer %q", f)
		}
	}
	return nil
}

// isUpgrade says whether the request asks for another protocol in the only form that
// may be passed on: without a body, Connection naming nothing else, and not h2c,
// whose upgrade no proxy survives unharmed.
func isUpgrade(m *Message) bool {
	connection, protocols := m.Values("Connection"), m.Values("Upgrade")
	if len(connection) != 1 || !strings.EqualFold(connection[0], "upgrade") || len(protocols) == 0 {
		return false
	}
	for _, p := range strings.Split(strings.Join(protocols, ","), ",") {
		if p = strings.ToLower(strings.TrimSpace(p)); p == "h2c" || p == "h2" {
			return false
		}
	}
	return m.Method == "GET" && m.Body == "" && !m.Chunked
}

func checkField(f Field, upgrade bool) error {
	name := strings.ToLower(f.Name)
	switch name {
	case "host", "content-length", "transfer-encoding":
		return nil
	case "connection", "upgrade":
		if upgrade {
			return nil
		}
	}
	// What reads X_Y as X-Y finds these twice, or finds them where they are not.
	twin := strings.ReplaceAll(name, "_", "-")
	if slices.Contains(hopByHop(), name) || twin == "content-length" || twin == "transfer-encoding" {
		return fmt.Errorf("field %q", f)
	}
	return nil
}

// hopByHop names what a proxy never passes on (RFC 9110 §7.6.1), and Expect, which
// it answers itself.
func hopByHop() []string {
	return []string{"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
		"upgrade", "http2-settings", "expect"}
}

// neverTrailers names what would change the meaning of a request when an application
// merges its trailers into its header (RFC 9110 §6.5.1).
func neverTrailers() []string {
	return append(hopByHop(), "host", "content-length", "transfer-encoding", "content-type", "content-encoding", "content-range",
		"authorization", "cookie", "cache-control", "range", "max-forwards", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-user-id")
}
