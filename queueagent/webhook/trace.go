package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"strings"
)

// traceContext is what is kept of a W3C traceparent.
type traceContext struct {
	trace [16]byte
	flags byte
	ok    bool
}

// knownFlags are those that the specification gives a meaning: sampled, random. Others
// are not passed on (Trace Context, section 3.2.2.5).
const knownFlags = 0x03

// parseTraceparent reads "00-<32 hex>-<16 hex>-<2 hex>", in lower case; a later version
// may be longer. ok is false when it is not valid.
func parseTraceparent(s string) (t traceContext) {
	const length = 55
	if len(s) < length || s[2] != '-' || s[35] != '-' || s[52] != '-' || s[:2] == "ff" {
		return t
	}
	if len(s) > length && (s[:2] == "00" || s[length] != '-') {
		return t
	}
	for _, part := range []string{s[:2], s[3:35], s[36:52], s[53:length]} {
		if strings.Trim(part, "0123456789abcdef") != "" {
			return t
		}
	}
	if strings.Trim(s[3:35], "0") == "" || strings.Trim(s[36:52], "0") == "" {
		return t
	}
	_, _ = hex.Decode(t.trace[:], bytesOf(s[3:35]))
	var flags [1]byte
	_, _ = hex.Decode(flags[:], bytesOf(s[53:55]))
	t.flags, t.ok = flags[0]&knownFlags, true
	return t
}

// traceOf makes a trace of a task that came with none. All attempts share it.
func traceOf(id string) traceContext {
	sum := sha256.Sum256(bytesOf(id))
	return traceContext{trace: [16]byte(sum[:16]), flags: 1, ok: true}
}

// appendTraceparent writes the trace with a new span.
func (t traceContext) appendTraceparent(dst []byte) []byte {
	dst = append(dst, "00-"...)
	dst = hex.AppendEncode(dst, t.trace[:])
	dst = append(dst, '-')
	span := rand.Uint64() | 1 // never all zero
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[span>>shift&15])
	}
	return append(dst, '-', '0', '0'+t.flags)
}

// maxTracestate is the length that must be passed on at least (section 3.3.1.5).
const maxTracestate = 512

// checkedTracestate gives a tracestate that may be sent, or nothing.
func checkedTracestate(s string) string {
	if len(s) > maxTracestate {
		return ""
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return ""
		}
	}
	return strings.Trim(s, " ")
}
