package cache

// AppendStored appends to dst the fields of a response that are stored
// (RFC 9111 §3.1). Left out are the fields of the connection it came over: the
// ones that Connection names (RFC 9110 §7.6.1) and the ones listed in
// hopByHop; Content-Length, which is recomputed from the body; and Age, which
// the entry keeps as a number. The fields alias h.
func AppendStored(dst, h Header) Header { return AppendStoredExcept(dst, h, nil) }

// AppendStoredExcept is AppendStored without the fields that omit names besides
// (Decision.Omit).
func AppendStoredExcept(dst, h Header, omit [][]byte) Header {
	for i := range h {
		if !notStored(h[i].Name) && !nominated(h, h[i].Name) && !named(omit, h[i].Name) {
			dst = append(dst, h[i])
		}
	}
	return dst
}

// named reports whether name is one of names, in any case.
func named(names [][]byte, name []byte) bool {
	for _, n := range names {
		if equalFoldBytes(n, name) {
			return true
		}
	}
	return false
}

func notStored(name []byte) bool {
	return hopByHop(name) || equalFold(name, "Content-Length") || equalFold(name, "Age")
}

// hopByHop lists the fields that concern one connection (RFC 9110 §7.6.1) or
// one proxy (RFC 9111 §3.1), by length so that most names are compared with none.
func hopByHop(name []byte) bool {
	switch len(name) {
	case 2:
		return equalFold(name, "TE")
	case 7:
		return equalFold(name, "Upgrade") || equalFold(name, "Trailer")
	case 10:
		return equalFold(name, "Connection") || equalFold(name, "Keep-Alive")
	case 16:
		return equalFold(name, "Proxy-Connection")
	case 17:
		return equalFold(name, "Transfer-Encoding")
	case 18:
		return equalFold(name, "Proxy-Authenticate")
	case 19:
		return equalFold(name, "Proxy-Authorization")
	case 25:
		return equalFold(name, "Proxy-Authentication-Info")
	}
	return false
}

// nominated reports whether a Connection field names the field.
func nominated(h Header, name []byte) bool {
	for option := range h.List("Connection") {
		if equalFoldBytes(option, name) {
			return true
		}
	}
	return false
}
