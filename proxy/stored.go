package proxy

import (
	"sync/atomic"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/redisconn"
)

// stored is an entry in the form that answers requests. It is attached to the
// value it was decoded from and goes with it, so it cannot outlive an invalidation.
// It is immutable but for form, prepared and parsed.
type stored struct {
	entry  cache.Entry
	header cache.Header     // of the entry, parsed
	value  *redisconn.Value // from which it was decoded, or nil
	marks  [][]byte         // the Redis keys of the tags' purge marks, in the order of entry.Tags

	// An index of variants has names and a generation; so has a variant that a fill
	// has just made, for those who wait for it.
	index      bool
	names      [][]byte
	generation uint64

	// search is set for the entry that holds the No-Vary-Search of a path.
	search *cache.SearchVariance

	// form is how direct serves it, made with the first such hit.
	form atomic.Pointer[form]
	// prepared is the response header as fasthttp holds it, made with the second hit that
	// direct does not answer: the first is usually the one that read the entry from Redis.
	prepared atomic.Pointer[fasthttp.ResponseHeader]
	parsed   atomic.Bool
}

// once is the form of a value that was decoded once, for a request of which nothing was
// kept: the first is usually the one that read it from Redis, and most of what follows is
// answered directly, which needs no decoded form.
type once struct{}

// decode gives the entry of a value, or nil when it is not usable: broken, or of
// another version. It keeps the decoded form, but not that of a response that is decoded
// for the first time.
func (h *Handler) decode(v *redisconn.Value) *stored {
	was := v.Shared()
	if s, ok := was.Form().(*stored); ok {
		return s
	}
	s := new(stored)
	rest, body := v.Parts()
	if err := s.entry.UnmarshalCut(rest, body); err != nil || !s.complete(h.prefix) {
		s = nil // a typed nil: known to be unusable
	}
	if was == nil && s != nil && s.response() {
		v.Share(nil, h.once)
		return s
	}
	if s != nil {
		s.value = v
	}
	v.SetDecoded(s, s.size())
	return s
}

// response says that s is that, and no index.
func (s *stored) response() bool { return !s.index && s.search == nil }

// grown counts what was added to s.
func (s *stored) grown() {
	if s.value != nil {
		s.value.SetDecoded(s, s.size())
	}
}

// newStored is decode for an entry that a fill has just made.
func newStored(e *cache.Entry, prefix string) *stored {
	s := &stored{entry: *e}
	if !s.complete(prefix) {
		return nil
	}
	return s
}

func (s *stored) complete(prefix string) bool {
	for _, t := range s.entry.Tags {
		s.marks = append(s.marks, cache.AppendTagName(nil, prefix, t.Tag))
	}
	if s.search = s.entry.SearchVariance(); s.search != nil {
		return true
	}
	if s.names, s.generation, s.index = s.entry.VaryIndex(nil); s.index {
		return true
	}
	var ok bool
	s.header, ok = cache.ParseHeader(nil, s.entry.Header)
	return ok && s.entry.Kind == cache.KindResponse
}

// softened is the entry as it is after a soft purge at that time.
func (s *stored) softened(at int64) *stored {
	soft := &stored{
		entry: s.entry, header: s.header, marks: s.marks, index: s.index, names: s.names, generation: s.generation,
	}
	soft.entry.SoftPurgedAt = at
	return soft
}
