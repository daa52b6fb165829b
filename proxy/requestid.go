package proxy

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/pillion-proxy/pillion/proxy/syntax"
)

// maxRequestID bounds an id that is kept.
const maxRequestID = 128

// requestID is the request's id: what a trusted proxy gave it, else 128 random bits.
// It is empty when server.request_id is.
func (x *exchange) requestID() []byte {
	if len(x.id) == 0 && x.snap.requestID != "" {
		if x.id = x.givenID(); x.id == nil {
			// The generator is the runtime's ChaCha8, one for each thread: no lock.
			putHex(x.idBuf[:16], rand.Uint64())
			putHex(x.idBuf[16:], rand.Uint64())
			x.id = x.idBuf[:]
		}
	}
	return x.id
}

// givenID is the id that a trusted proxy gave; nil for none, for two, and for what is
// no id.
func (x *exchange) givenID() (id []byte) {
	for i := range x.lines {
		if l := &x.lines[i]; l.kind == kindPass && syntax.FoldEqual(l.name, x.snap.requestID) {
			if id != nil {
				return nil
			}
			id = l.value
		}
	}
	if !validRequestID(id) || !x.snap.trusts(x.clientAddr()) {
		return nil
	}
	return id
}

func validRequestID(id []byte) bool {
	for _, c := range id {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == ':', c == '/', c == '+', c == '=', c == '@', c == '-':
		default:
			return false
		}
	}
	return len(id) > 0 && len(id) <= maxRequestID
}

// isRequestID says whether an application could take the client's field for the id.
func (s *snapshot) isRequestID(name []byte) bool {
	return s.requestID != "" && twinEqual(name, s.requestTwin)
}

// putHex writes 16 digits, eight at a time: each half of v is spread to one nibble a byte,
// and those above 9 are moved on to the letters.
func putHex(dst []byte, v uint64) {
	const ones = 0x0101010101010101
	for half := range 2 {
		x := v >> (32 - 32*half) & 0xffffffff
		x = (x<<16 | x) & 0x0000ffff0000ffff
		x = (x<<8 | x) & 0x00ff00ff00ff00ff
		x = (x<<4 | x) & 0x0f0f0f0f0f0f0f0f
		letters := (x + 6*ones) >> 4 & ones
		binary.BigEndian.PutUint64(dst[8*half:], x+'0'*ones+letters*('a'-'0'-10))
	}
}

// traceID is the trace id of a valid traceparent (W3C Trace Context §3.2); nil without
// one. The field itself is passed on as it is, and none is made.
func (x *exchange) traceID() []byte {
	var found []byte
	for i := range x.lines {
		if l := &x.lines[i]; l.kind == kindPass && syntax.FoldEqual(l.name, "traceparent") {
			if found != nil {
				return nil
			}
			found = l.value
		}
	}
	return traceIDOf(found)
}

// traceIDOf reads version "-" trace-id "-" parent-id "-" flags. A later version may
// have more behind it.
func traceIDOf(v []byte) []byte {
	const length = 2 + 1 + 32 + 1 + 16 + 1 + 2
	if len(v) < length || v[2] != '-' || v[35] != '-' || v[52] != '-' {
		return nil
	}
	version, trace, parent, flags := v[:2], v[3:35], v[36:52], v[53:55]
	if !lowerHex(version) || string(version) == "ff" || !lowerHex(flags) ||
		len(v) > length && (string(version) == "00" || v[length] != '-') {
		return nil
	}
	if !lowerHex(trace) || allZero(trace) || !lowerHex(parent) || allZero(parent) {
		return nil
	}
	return trace
}

func lowerHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != '0' {
			return false
		}
	}
	return true
}
