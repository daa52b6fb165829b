// Package origin is the application of the HTTP scenarios, and the bare fasthttp server
// that others are compared with: it answers the same bytes.
package origin

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	// MarkerLength and TailLength are how many bytes at the ends of a body are its own.
	MarkerLength = 16
	TailLength   = 4
	tail         = "|end"

	// The first segment of a path says how its answer may be stored, the second one
	// its size, and the third one which it is: /obj/1024/17.
	Public   = "obj"     // may be stored by all
	Varied   = "vary"    // may be stored, and varies by Accept-Language
	Tagged   = "tagged"  // may be stored, and has the tag "storm"
	Private  = "private" // may be stored, for whoever has a session
	Secure   = "secure"  // must not be stored, and needs a session
	Uncached = "pass"    // must not be stored
	Slow     = "slow"    // the same, after a second

	// ETag is that of every answer that may be stored.
	ETag = `"b3"`

	largest     = 4 << 30
	slowFor     = time.Second
	precomputed = 1 << 20 // the largest body that is kept
)

// Marker begins the body of an object.
func Marker(id int) []byte { return fmt.Appendf(nil, "obj:%010d|\n", id) }

// Tail ends every body.
func Tail() []byte { return []byte(tail) }

// Path names an object.
func Path(kind string, size, id int) string { return fmt.Sprintf("/%s/%d/%d", kind, size, id) }

// Handler answers requests. Bodies of up to 1 MiB are made when it is made, for the
// ids below keys of each size.
type Handler struct {
	bodies map[int][][]byte
	asked  atomic.Int64

	mu     sync.Mutex
	last   []byte
	lastID int
}

// New makes a handler.
func New(keys int, sizes []int) *Handler {
	h := &Handler{bodies: make(map[int][][]byte)}
	for _, size := range sizes {
		if size > precomputed {
			continue
		}
		for id := range keys {
			h.bodies[size] = append(h.bodies[size], body(size, id))
		}
	}
	return h
}

func body(size, id int) []byte {
	b := make([]byte, 0, size)
	b = append(b, Marker(id)...)
	for len(b) < size-TailLength {
		b = append(b, "Lorem ipsum dolor sit amet, consectetur adipiscing elit.\n"...)
	}
	return append(b[:size-TailLength], tail...)
}

// Handle answers one request; /count says how many there were.
func (h *Handler) Handle(ctx *fasthttp.RequestCtx) {
	if string(ctx.Path()) == "/count" {
		_, _ = fmt.Fprint(ctx, h.asked.Load())
		return
	}
	h.asked.Add(1)
	kind, size, id, ok := parse(string(ctx.Path()))
	if !ok {
		ctx.Error("no such object: use /obj/<size>/<id>", fasthttp.StatusNotFound)
		return
	}
	ctx.Response.Header.SetContentType("application/octet-stream")
	setCaching(ctx, kind)
	if kind == Slow {
		time.Sleep(slowFor)
	}
	if string(ctx.Request.Header.Peek("If-None-Match")) == ETag && kind != Uncached {
		ctx.SetStatusCode(fasthttp.StatusNotModified)
		return
	}
	switch {
	case id < len(h.bodies[size]):
		ctx.Response.SetBodyRaw(h.bodies[size][id])
	case size <= precomputed:
		ctx.Response.SetBodyRaw(body(size, id))
	default:
		ctx.Response.SetBodyRaw(h.large(size, id))
	}
}

// large gives a body of more than 1 MiB; the last one is kept.
func (h *Handler) large(size, id int) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.last) != size || h.lastID != id {
		h.last = make([]byte, size)
		copy(h.last, Marker(id))
		copy(h.last[size-TailLength:], tail)
		h.lastID = id
	}
	return h.last
}

func setCaching(ctx *fasthttp.RequestCtx, kind string) {
	head := &ctx.Response.Header
	switch kind {
	case Secure, Uncached, Slow:
		head.Set("Cache-Control", "no-store")
		return
	case Varied:
		head.Set("Vary", "Accept-Language")
	case Tagged:
		head.Set("Cache-Tag", "storm")
	}
	head.Set("Cache-Control", "public, max-age=3600")
	head.Set("ETag", ETag)
}

// parse reads a path. A first segment that is none of the above is as good as obj, for
// servers with a thousand rules.
func parse(path string) (kind string, size, id int, ok bool) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if len(parts) != 3 {
		return "", 0, 0, false
	}
	var err1, err2 error
	size, err1 = strconv.Atoi(parts[1])
	id, err2 = strconv.Atoi(parts[2])
	ok = err1 == nil && err2 == nil && size >= MarkerLength+TailLength && size <= largest && id >= 0
	return parts[0], size, id, ok
}
