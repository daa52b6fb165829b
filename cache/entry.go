package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"github.com/cespare/xxhash/v2"
)

// The errors of decoding. Each means that the entry is unusable and counts as a
// miss; who stored it matters no more than that.
var (
	ErrTruncated = errors.New("stored entry is cut short")
	ErrFormat    = errors.New("stored entry is not in this format")
	ErrVersion   = errors.New("stored entry has another version of the format")
	ErrChecksum  = errors.New("stored entry does not match its checksum")
)

// Kind says what an entry holds.
type Kind uint8

// The kinds of entries.
const (
	// KindResponse is a stored response.
	KindResponse Kind = 1
	// KindVary stands at a primary key whose responses vary. Header holds the
	// names of the selecting fields and Body the generation: see NewVaryIndex.
	KindVary Kind = 2
	// KindSearch stands for a path whose responses have a No-Vary-Search. Header
	// holds its value: see NewSearchIndex.
	KindSearch Kind = 3
)

// Flags are properties of an entry that a hit needs without reading its header.
type Flags uint8

// The flags.
const (
	// FlagMustRevalidate: never serve it stale (RFC 9111 §4.2.4, §5.2.2.2).
	FlagMustRevalidate Flags = 1 << iota
	// FlagVariant: Key is followed by a secondary key.
	FlagVariant
	// FlagValidate: validate it before every use, fresh or not (no-cache, RFC 9111
	// §5.2.2.4).
	FlagValidate
	// FlagShared: the origin allows it for requests with Authorization (RFC 9111
	// §3.5).
	FlagShared

	// These two exist in the encoded form only: what is absent costs no byte.
	flagWindows    Flags = 1 << 6
	flagSoftPurged Flags = 1 << 7
	encodedFlags         = flagWindows | flagSoftPurged
)

// TagMark is a tag and the value of its purge mark, both as bytes. The mark was
// read when the fill began: if it has another value when the entry is used, the
// tag was purged since, during the fill included. An empty mark means that there
// was none.
type TagMark struct{ Tag, Mark []byte }

// Entry is a stored response. Times are Unix milliseconds; durations are kept in
// milliseconds, the lifetime rounded down and the age up.
type Entry struct {
	Kind   Kind
	Flags  Flags
	Status int
	// StoredAt is when the response header was received, and FillStart when the
	// fetch began, before anything that the response depends on was read.
	StoredAt, FillStart int64
	// Lifetime is the freshness lifetime after jitter, and InitialAge the age on
	// arrival (RFC 9111 §4.2.3).
	Lifetime, InitialAge time.Duration
	// StaleWhileRevalidate and StaleIfError are for how long beyond its lifetime the
	// entry may be served while it is validated in the background, and when that
	// fails (RFC 5861). Both are 0 when it must not be served stale.
	StaleWhileRevalidate, StaleIfError time.Duration
	// SoftPurgedAt is when the entry was marked stale before its time; 0 means that
	// it was not.
	SoftPurgedAt int64
	// Key is the full key, to be compared with the one that was asked for.
	Key  []byte
	Tags []TagMark
	// Header is the block that AppendHeader writes.
	Header []byte
	Body   []byte
}

// The format: two bytes of magic, a version, kind, flags; then as varints:
// status, StoredAt, StoredAt − FillStart, lifetime, age, the two windows if
// flagWindows, SoftPurgedAt if flagSoftPurged, and each of key, tags, header and
// body with its length before it; then xxHash64 of all before it.
const (
	magic0, magic1 = 0xC1, 'p'
	formatVersion  = 2
	checksumSize   = 8
	minEntry       = 5 + 9 + checksumSize
	// maxTagMarks bounds what Unmarshal collects for one entry.
	maxTagMarks = 256
)

// Encode appends e to dst. An entry without key and tags costs 40 bytes or less
// beside header and body.
func Encode(dst []byte, e *Entry) []byte {
	start := len(dst)
	flags := e.Flags &^ encodedFlags
	if e.StaleWhileRevalidate > 0 || e.StaleIfError > 0 {
		flags |= flagWindows
	}
	if e.SoftPurgedAt != 0 {
		flags |= flagSoftPurged
	}
	dst = append(dst, magic0, magic1, formatVersion, byte(e.Kind), byte(flags))
	dst = binary.AppendUvarint(dst, uint64(e.Status))
	dst = binary.AppendVarint(dst, e.StoredAt)
	dst = binary.AppendVarint(dst, e.StoredAt-e.FillStart)
	dst = appendMillis(dst, e.Lifetime)
	dst = appendMillis(dst, e.InitialAge+time.Millisecond-1)
	if flags&flagWindows != 0 {
		dst = appendMillis(appendMillis(dst, e.StaleWhileRevalidate), e.StaleIfError)
	}
	if flags&flagSoftPurged != 0 {
		dst = binary.AppendVarint(dst, e.SoftPurgedAt)
	}
	dst = appendBytes(dst, e.Key)
	dst = binary.AppendUvarint(dst, uint64(len(e.Tags)))
	for _, t := range e.Tags {
		dst = appendBytes(appendBytes(dst, t.Tag), t.Mark)
	}
	dst = appendBytes(appendBytes(dst, e.Header), e.Body)
	return binary.LittleEndian.AppendUint64(dst, xxhash.Sum64(dst[start:]))
}

// appendMillis appends a duration in milliseconds, rounded down, 0 at least.
func appendMillis(dst []byte, d time.Duration) []byte {
	return binary.AppendUvarint(dst, uint64(max(0, d/time.Millisecond)))
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// Decode reads an entry that Encode wrote. Its slices alias raw, which must not
// change while the entry is in use.
func Decode(raw []byte) (*Entry, error) {
	e := new(Entry)
	if err := e.UnmarshalCut(raw, nil); err != nil {
		return nil, err
	}
	return e, nil
}

// Unmarshal is Decode into an entry that may be used again: it reuses e.Tags and
// does not allocate when that has room. On an error e is in no defined state.
func (e *Entry) Unmarshal(raw []byte) error { return e.UnmarshalCut(raw, nil) }

// UnmarshalTrusted is Unmarshal without the checksum, for bytes that Unmarshal
// has accepted before in this process: hashing a large body anew for each hit
// would cost more than serving it. It is as safe on bytes of any kind.
func (e *Entry) UnmarshalTrusted(raw []byte) error { return e.UnmarshalCutTrusted(raw, nil) }

// UnmarshalCut is Unmarshal of an entry out of which the body is cut, as Layout says: rest
// is what is around it. A nil body is still in rest.
func (e *Entry) UnmarshalCut(rest, body []byte) error {
	if err := checkEnvelope(rest); err != nil {
		return err
	}
	head, sum := rest[:len(rest)-checksumSize], rest[len(rest)-checksumSize:]
	if binary.LittleEndian.Uint64(sum) != checksum(head, body) {
		return ErrChecksum
	}
	return e.UnmarshalCutTrusted(rest, body)
}

// checksum is that of head and body as one.
func checksum(head, body []byte) uint64 {
	if body == nil {
		return xxhash.Sum64(head)
	}
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(head)
	_, _ = d.Write(body)
	return d.Sum64()
}

// UnmarshalCutTrusted is to UnmarshalCut as UnmarshalTrusted is to Unmarshal.
func (e *Entry) UnmarshalCutTrusted(rest, body []byte) error {
	if err := checkEnvelope(rest); err != nil {
		return err
	}
	r := entryReader{rest: rest[5 : len(rest)-checksumSize]}
	e.Kind, e.Flags = Kind(rest[3]), Flags(rest[4])
	e.Status = int(r.uvarint(999))
	e.StoredAt = r.varint()
	e.FillStart = e.StoredAt - r.varint()
	e.Lifetime = r.millis(MaxDelta)
	e.InitialAge = r.millis(3 * MaxDelta)
	e.StaleWhileRevalidate, e.StaleIfError, e.SoftPurgedAt = 0, 0, 0
	if e.Flags&flagWindows != 0 {
		e.StaleWhileRevalidate, e.StaleIfError = r.millis(MaxDelta), r.millis(MaxDelta)
	}
	if e.Flags&flagSoftPurged != 0 {
		e.SoftPurgedAt = r.varint()
	}
	e.Flags &^= encodedFlags
	e.Key = r.bytes()
	e.Tags = e.Tags[:0]
	for n := r.uvarint(maxTagMarks); n > 0 && r.err == nil; n-- {
		e.Tags = append(e.Tags, TagMark{Tag: r.bytes(), Mark: r.bytes()})
	}
	e.Header = r.bytes()
	e.Body = r.body(body)
	if r.err == nil && len(r.rest) > 0 {
		return ErrFormat
	}
	return r.err
}

func checkEnvelope(raw []byte) error {
	switch {
	case len(raw) >= 2 && (raw[0] != magic0 || raw[1] != magic1):
		return ErrFormat
	case len(raw) >= 3 && raw[2] != formatVersion:
		return ErrVersion
	case len(raw) < minEntry:
		return ErrTruncated
	case Kind(raw[3]) < KindResponse || Kind(raw[3]) > KindSearch:
		return ErrFormat
	}
	return nil
}

// entryReader consumes an entry from the front; after an error it gives zeroes.
type entryReader struct {
	rest []byte
	err  error
}

func (r *entryReader) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.rest)
	return r.took(v, n, limit)
}

// millis reads what appendMillis wrote, up to limit seconds.
func (r *entryReader) millis(limit uint64) time.Duration {
	return time.Duration(r.uvarint(limit*1000)) * time.Millisecond
}

func (r *entryReader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if r.took(0, n, 0); r.err != nil {
		return 0
	}
	return v
}

// took moves past n bytes, as encoding/binary counts them: 0 for too few, less
// for a number that does not fit.
func (r *entryReader) took(v uint64, n int, limit uint64) uint64 {
	switch {
	case r.err != nil:
		return 0
	case n == 0:
		r.err = ErrTruncated
	case n < 0 || v > limit:
		r.err = ErrFormat
	default:
		r.rest = r.rest[n:]
		return v
	}
	return 0
}

func (r *entryReader) bytes() []byte {
	n := r.uvarint(1 << 62)
	if r.err != nil {
		return nil
	}
	if n > uint64(len(r.rest)) {
		r.err = ErrTruncated
		return nil
	}
	b := r.rest[:n:n] // no append to it can reach what follows
	r.rest = r.rest[n:]
	return b
}

// body reads the length of the body, and the body unless it is cut out.
func (r *entryReader) body(cut []byte) []byte {
	if cut == nil {
		return r.bytes()
	}
	if n := r.uvarint(1 << 62); r.err == nil && n != uint64(len(cut)) {
		r.err = ErrFormat
	}
	return cut
}

// Age gives the current age (RFC 9111 §4.2.3).
func (e *Entry) Age(now time.Time) time.Duration {
	return CurrentAge(e.InitialAge, time.UnixMilli(e.StoredAt), now)
}

// TTL gives the freshness lifetime that is left; 0 or less means stale. After a
// soft purge none is left.
func (e *Entry) TTL(now time.Time) time.Duration {
	ttl := e.Lifetime - e.Age(now)
	if e.SoftPurgedAt == 0 {
		return ttl
	}
	// Never positive, also where the clock that marked it is ahead of this one.
	return min(ttl, 0, time.UnixMilli(e.SoftPurgedAt).Sub(now))
}

// Fresh reports whether the entry is fresh (RFC 9111 §4.2).
func (e *Entry) Fresh(now time.Time) bool { return e.TTL(now) > 0 }

// NewVaryIndex gives the entry that stands at a primary key whose responses vary
// by names (of VaryNames). generation belongs into the key of each variant, see
// AppendVariantKey: with the index gone, or written anew with another
// generation, no older variant is found, which purges all of them in one write.
func NewVaryIndex(key []byte, names [][]byte, generation uint64) *Entry {
	return &Entry{
		Kind: KindVary, Status: 200, Key: key, Header: bytes.Join(names, []byte{','}),
		Body: binary.LittleEndian.AppendUint64(nil, generation),
	}
}

// VaryIndex reads what NewVaryIndex wrote. The names are appended to dst and
// alias e. It is false for an entry that is no such index.
func (e *Entry) VaryIndex(dst [][]byte) (names [][]byte, generation uint64, ok bool) {
	if e.Kind != KindVary || len(e.Body) != 8 {
		return dst, 0, false
	}
	c := listCursor{rest: e.Header}
	n := 0
	for name, more := c.next(); more; name, more = c.next() {
		if n++; n > MaxVaryNames {
			return dst, 0, false
		}
		dst = append(dst, name)
	}
	return dst, binary.LittleEndian.Uint64(e.Body), true
}

// AppendVariantKey appends to a primary key what makes it the full key of a
// variant, up to the secondary key, which AppendVary appends next.
func AppendVariantKey(key []byte, generation uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(key, '\n'), generation)
}
