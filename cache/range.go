package cache

import (
	"bytes"
	"strconv"
	"time"
)

// MaxRanges bounds the ranges of one request. A request for more is answered with
// the whole response, as RFC 9110 §14.2 allows.
const MaxRanges = 16

// rangeGap is how close two ranges may be to be sent as one: less than the header of
// another part costs (RFC 9110 §15.3.7.2).
const rangeGap = 80

// ByteRange is a part of a body: the bytes from Start up to and without End.
type ByteRange struct{ Start, End int64 }

// RangePlan says how a request with Range is answered from a stored response.
type RangePlan struct {
	// Status is 200 for the whole response, 206 for parts of it, 416 for none.
	Status int
	// Size is the length of the whole body.
	Size int64
	// N is the number of parts, in the order to send them in. More than one makes a
	// multipart body.
	N     int
	Parts [MaxRanges]ByteRange
}

// PlanRange decides how a GET is answered from a complete stored response (RFC 9110
// §14.2, §13.1.5). Preconditions come before it: see NotModified. Range is ignored
// where the response is no 200, where If-Range does not hold, and where the field is
// malformed, in another unit, repeated, or asks for more than MaxRanges. Ranges that
// overlap or nearly touch are joined. received stands in for a missing Date. It does
// not allocate.
func PlanRange(request, stored Header, status int, size int64, received time.Time) RangePlan {
	p := RangePlan{Status: 200, Size: size}
	if status != 200 || size == 0 { // of an empty body no part can be named
		return p
	}
	value, lines := []byte(nil), 0
	for i := range request {
		if equalFold(request[i].Name, "Range") {
			value, lines = request[i].Value, lines+1
		}
	}
	if lines != 1 || !ifRange(request, stored, received) {
		return p
	}
	if !p.parse(trimSpace(value)) {
		return RangePlan{Status: 200, Size: size}
	}
	p.coalesce()
	return p
}

// ifRange reports whether If-Range, where there is one, holds (RFC 9110 §13.1.5): by
// a strong comparison of entity tags, or for the exact Last-Modified, when that is a
// strong validator.
func ifRange(request, stored Header, received time.Time) bool {
	value, lines := []byte(nil), 0
	for i := range request {
		if equalFold(request[i].Name, "If-Range") {
			value, lines = trimSpace(request[i].Value), lines+1
		}
	}
	switch {
	case lines == 0:
		return true
	case lines > 1:
		return false
	case isStrong(value):
		return bytes.Equal(value, trimSpace(stored.Get("ETag")))
	}
	date, ok := ParseDate(value, received)
	modified, also := ParseDate(trimSpace(stored.Get("Last-Modified")), received)
	if !ok || !also || !date.Equal(modified) {
		return false
	}
	// Strong when it is a second or more older than Date (§8.8.2.2): within one
	// second a representation may have changed twice.
	return responseDate(stored, received).Sub(modified) >= time.Second
}

// parse reads a Range of bytes (RFC 9110 §14.1.1, §14.1.2). It is false for one that
// is to be ignored.
func (p *RangePlan) parse(b []byte) bool {
	unit, set, ok := bytes.Cut(b, []byte{'='})
	if !ok || !equalFold(unit, "bytes") {
		return false
	}
	given := 0
	for more := true; more; {
		var spec []byte
		spec, set, more = bytes.Cut(set, []byte{','})
		if spec = trimSpace(spec); len(spec) == 0 {
			continue // an empty element (RFC 9110 §5.6.1)
		}
		if given++; given > MaxRanges {
			return false
		}
		r, valid := parseRangeSpec(spec, p.Size)
		if !valid {
			return false
		}
		if r.Start < r.End {
			p.Parts[p.N] = r
			p.N++
		}
	}
	p.Status = 206
	if p.N == 0 {
		p.Status = 416
	}
	return given > 0
}

// parseRangeSpec reads "first-", "first-last" or "-suffix". A range that cannot be
// satisfied is valid and empty.
func parseRangeSpec(spec []byte, size int64) (r ByteRange, valid bool) {
	before, after, dash := bytes.Cut(spec, []byte{'-'})
	if !dash {
		return r, false
	}
	if len(before) == 0 {
		n, ok := parsePosition(after)
		return ByteRange{max(0, size-n), size}, ok
	}
	first, ok := parsePosition(before)
	if !ok {
		return r, false
	}
	last := int64(maxPosition)
	if len(after) > 0 {
		if last, ok = parsePosition(after); !ok || last < first {
			return r, false
		}
	}
	return ByteRange{min(first, size), min(last+1, size)}, true
}

// maxPosition is where positions saturate: beyond any body.
const maxPosition = 1 << 59 // ten times it still fits

func parsePosition(b []byte) (int64, bool) {
	var n int64
	for _, c := range b {
		if !isDigit(c) {
			return 0, false
		}
		n = min(n*10+int64(c-'0'), maxPosition)
	}
	return n, len(b) > 0
}

// coalesce joins ranges that overlap or nearly touch into the one that was asked for
// first, so that no byte is sent twice, however often it was asked for.
func (p *RangePlan) coalesce() {
	for i := 0; i < p.N; i++ {
		for j := i + 1; j < p.N; j++ {
			a, b := p.Parts[i], p.Parts[j]
			if b.Start > a.End+rangeGap || a.Start > b.End+rangeGap {
				continue
			}
			p.Parts[i] = ByteRange{min(a.Start, b.Start), max(a.End, b.End)}
			p.N--
			copy(p.Parts[j:p.N], p.Parts[j+1:p.N+1])
			j = i // the joined one may touch others now
		}
	}
}

// AppendContentRange appends the Content-Range of part i (RFC 9110 §14.4), or for a
// plan with status 416 the one without a part.
func (p *RangePlan) AppendContentRange(dst []byte, i int) []byte {
	dst = append(dst, "bytes "...)
	if p.Status == 416 {
		dst = append(dst, '*')
	} else {
		dst = strconv.AppendInt(dst, p.Parts[i].Start, 10)
		dst = strconv.AppendInt(append(dst, '-'), p.Parts[i].End-1, 10)
	}
	return strconv.AppendInt(append(dst, '/'), p.Size, 10)
}

// AppendPartHead appends what stands before part i in a multipart body (RFC 9110
// §14.6): the boundary line, Content-Type unless it is empty, and Content-Range.
// boundary must occur nowhere in the body; random text of 20 characters does not.
func (p *RangePlan) AppendPartHead(dst []byte, i int, boundary string, contentType []byte) []byte {
	if i > 0 {
		dst = append(dst, "\r\n"...)
	}
	dst = append(append(append(dst, "--"...), boundary...), "\r\n"...)
	if len(contentType) > 0 {
		dst = append(append(append(dst, "Content-Type: "...), contentType...), "\r\n"...)
	}
	return append(p.AppendContentRange(append(dst, "Content-Range: "...), i), "\r\n\r\n"...)
}

// Multipart gives a multipart/byteranges body as segments to be written one after
// the other, and its length. The parts are slices of body, not copies.
func (p *RangePlan) Multipart(body []byte, boundary string, contentType []byte) (segments [][]byte, length int64) {
	heads := make([]byte, 0, p.N*(len(boundary)+len(contentType)+100))
	segments = make([][]byte, 0, 2*p.N+1)
	for i, r := range p.Parts[:p.N] {
		start := len(heads)
		heads = p.AppendPartHead(heads, i, boundary, contentType)
		segments = append(segments, heads[start:], body[r.Start:r.End])
	}
	segments = append(segments, []byte("\r\n--"+boundary+"--\r\n"))
	for _, s := range segments {
		length += int64(len(s))
	}
	return segments, length
}

// MultipartType gives the Content-Type of a multipart answer.
func MultipartType(boundary string) string { return "multipart/byteranges; boundary=" + boundary }
