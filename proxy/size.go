package proxy

import (
	"unsafe"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
)

// size is what the decoded form costs beside the entry's bytes, which it points into:
// with it, cache.memory bounds what a stored response really takes.
func (s *stored) size() int {
	if s == nil {
		return 0
	}
	n := int(unsafe.Sizeof(*s)) + cap(s.header)*int(unsafe.Sizeof(cache.Field{}))
	n += cap(s.entry.Tags)*int(unsafe.Sizeof(cache.TagMark{})) + (cap(s.marks)+cap(s.names))*int(unsafe.Sizeof([]byte{}))
	for _, b := range s.marks {
		n += cap(b)
	}
	for _, b := range s.names {
		n += cap(b)
	}
	if s.search != nil {
		n += int(unsafe.Sizeof(*s.search)) + 2*len(s.entry.Header)
	}
	if s.prepared.Load() != nil {
		n += preparedSize + len(s.header)*preparedField + len(s.entry.Header)
	}
	if f := s.form.Load(); f != nil && f.block != nil {
		n += int(unsafe.Sizeof(*f)) + cap(f.block)
	}
	return n
}

// What fasthttp holds beside the text of the fields: the struct with its small
// buffers, and for each field two slices, a flag and what the allocator rounds up to.
const (
	preparedSize  = int(unsafe.Sizeof(fasthttp.ResponseHeader{})) + 128
	preparedField = 2*int(unsafe.Sizeof([]byte{})) + 8 + 2*8
)
