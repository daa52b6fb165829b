package webhook

import (
	"fmt"
	"net/url"
	"strings"
)

// typeHole is what the task's type replaces in a webhook's path.
const typeHole = "{type}"

// target is a webhook's URL, taken apart. Only the type can change, and only within
// one segment of the path: a payload never chooses the host.
type target struct {
	*place
	parts  []string // the path and query around each "{type}"
	public string   // the URL for people, without what may be secret
}

// mark stands for typeHole where the URL is parsed.
const mark = "-pillion-type-hole-"

// newTarget reads the URL of a setting; a path is one on the application, which is nil
// when there is none.
func newTarget(setting, raw string, app *place, t TLS) (*target, error) {
	u, err := parseURL(setting, raw)
	switch {
	case err != nil:
		return nil, err
	case !isPath(raw):
		if app, err = newPlace(setting, u, t); err != nil {
			return nil, err
		}
	case app == nil:
		return nil, fmt.Errorf("%s %q is a path: set App, the application that it is on, or write a whole URL", setting, raw)
	}
	path := u.EscapedPath()
	public := app.shown + strings.ReplaceAll(path, mark, typeHole)
	if path == "" {
		path = "/"
	}
	if u.RawQuery != "" {
		path += "?" + visible(u.RawQuery)
	}
	return &target{place: app, parts: strings.Split(path, mark), public: public}, nil
}

func parseURL(setting, raw string) (*url.URL, error) {
	u, err := url.Parse(strings.ReplaceAll(raw, typeHole, mark))
	shown := raw
	if i := strings.LastIndexByte(raw, '@'); i >= 0 && !isPath(raw) {
		shown = "..." + raw[i:] // there may be a password before it
	}
	if err != nil {
		return nil, fmt.Errorf("%s %q: %s", setting, shown, strings.ReplaceAll(bareURLError(err), mark, typeHole))
	}
	switch {
	case !isPath(raw) && (u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == ""):
		return nil, fmt.Errorf("%s %q: write http:// or https://, and a host, or a path that begins with /", setting, shown)
	case u.User != nil:
		return nil, fmt.Errorf("%s of %s has a user in it: sign deliveries with webhook.secret, or set webhook.headers", setting, u.Host)
	case strings.Count(raw, typeHole) != strings.Count(u.EscapedPath(), mark):
		return nil, fmt.Errorf("%s %q: %s may only be in the path", setting, shown, typeHole)
	}
	return u, nil
}

// bareURLError drops the URL that url.Parse repeats.
func bareURLError(err error) string {
	if e, ok := err.(*url.Error); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// needsType says whether the URL depends on the task's type.
func (t *target) needsType() bool { return len(t.parts) > 1 }

// uri gives the request target for a type; false when the type cannot be part of a
// path: when it is empty, or a segment of it means "here" or "up". A server that
// decodes %2F before it routes would otherwise be led elsewhere.
func (t *target) uri(dst []byte, typ string) ([]byte, bool) {
	if t.needsType() && !safeSegment(typ) {
		return dst, false
	}
	for i, part := range t.parts {
		if i > 0 {
			dst = appendUnreserved(dst, typ)
		}
		dst = append(dst, part...)
	}
	return dst, true
}

func safeSegment(typ string) bool {
	if typ == "" {
		return false
	}
	for seg := range strings.FieldsFuncSeq(typ, func(r rune) bool { return r == '/' || r == '\\' }) {
		if seg == "." || seg == ".." {
			return false
		}
	}
	return true
}

// appendUnreserved percent-encodes all but the unreserved characters of RFC 3986.
func appendUnreserved(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~", c) >= 0:
			dst = append(dst, c)
		default:
			dst = appendEscaped(dst, c)
		}
	}
	return dst
}

// visible percent-encodes what must not be in a request line.
func visible(query string) string {
	var b []byte
	for i := 0; i < len(query); i++ {
		if c := query[i]; c > ' ' && c < 0x7f {
			b = append(b, c)
		} else {
			b = appendEscaped(b, c)
		}
	}
	return string(b)
}

func appendEscaped(dst []byte, c byte) []byte {
	const hex = "0123456789ABCDEF"
	return append(dst, '%', hex[c>>4], hex[c&15])
}

// appendHeaderValue encodes a value as the HTTP binding of CloudEvents asks for
// (section 3.1.3.2): printable ASCII stays, but for space, quote and percent. So no
// payload can add a header.
func appendHeaderValue(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c > ' ' && c < 0x7f && c != '"' && c != '%' {
			dst = append(dst, c)
		} else {
			dst = appendEscaped(dst, c)
		}
	}
	return dst
}
