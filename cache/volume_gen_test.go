package cache

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// said is what the directives of a response mean, known because they were built so,
// not read back.
type said struct {
	noStore, private, noCache, mustRevalidate, proxyRevalidate, mustUnderstand, public bool

	privateFields, noCacheFields []string
	maxAge, sMaxAge              []int64 // every value that was given; -1 for what is no number
}

// lifetime is the explicit one (RFC 9111 §4.2.1) in seconds, -1 without: values that
// are malformed or contradict each other make the response stale.
func (s *said) lifetime() int64 {
	values := s.sMaxAge
	if len(values) == 0 {
		values = s.maxAge
	}
	if len(values) == 0 {
		return -1
	}
	for _, v := range values {
		if v != values[0] || v < 0 {
			return 0
		}
	}
	return values[0]
}

// gen builds messages at random from the grammar of their fields, and keeps what
// they mean.
type gen struct{ rnd *rand.Rand }

func (g *gen) chance(percent int) bool     { return g.rnd.IntN(100) < percent }
func (g *gen) pick(words ...string) string { return words[g.rnd.IntN(len(words))] }
func (g *gen) seconds() int64 {
	return []int64{0, 1, 5, 30, 60, 3600, 86400, 1 << 31, 1 << 40}[g.rnd.IntN(9)]
}
func (g *gen) field(name, value string) Field { return Field{[]byte(g.anyCase(name)), []byte(value)} }

func (g *gen) anyCase(s string) string {
	switch g.rnd.IntN(4) {
	case 0:
		return strings.ToUpper(s)
	case 1:
		return strings.ToLower(s)
	}
	return s
}

// number gives an argument and what it means; -1 when it is malformed.
func (g *gen) number() (string, int64) {
	if g.chance(12) {
		return g.pick("x", "-1", "", "1.5", " 5", "5 s", `"5`, "0x10", "٣"), -1
	}
	n := g.seconds()
	text := strconv.FormatInt(n, 10)
	if g.chance(20) {
		text = "00" + text
	}
	if g.chance(20) {
		text = `"` + text + `"`
	}
	return text, min(n, MaxDelta)
}

// fieldsOf gives the argument of a qualified directive; none means that it covers
// the whole response.
func (g *gen) fieldsOf() (arg string, names []string) {
	switch g.rnd.IntN(5) {
	case 0:
		return `="x-a, set-cookie"`, []string{"x-a", "set-cookie"}
	case 1:
		return `="X-B"`, []string{"x-b"}
	case 2:
		return "=x-a", []string{"x-a"}
	case 3:
		return g.pick(`=""`, "=", `="a b"`, `= "x-a"`), nil
	}
	return "", nil
}

// directive gives one element of Cache-Control and notes its meaning.
func (g *gen) directive(s *said) string {
	extra := g.pick("", "", "", "", "=x", `="x"`)
	switch g.rnd.IntN(16) {
	case 0:
		s.noStore = true
		return g.anyCase("no-store") + extra
	case 1:
		arg, names := g.fieldsOf()
		s.private, s.privateFields = s.private || names == nil, append(s.privateFields, names...)
		return g.anyCase("private") + arg
	case 2:
		arg, names := g.fieldsOf()
		s.noCache, s.noCacheFields = s.noCache || names == nil, append(s.noCacheFields, names...)
		return g.anyCase("no-cache") + arg
	case 3:
		s.mustRevalidate = true
		return g.anyCase("must-revalidate") + extra
	case 4:
		s.proxyRevalidate = true
		return g.anyCase("proxy-revalidate") + extra
	case 5:
		s.mustUnderstand = true
		return g.anyCase("must-understand")
	case 6, 7:
		s.public = true
		return g.anyCase("public")
	case 8:
		arg, n := g.number()
		s.sMaxAge = append(s.sMaxAge, n)
		return g.anyCase("s-maxage") + "=" + arg
	case 9:
		arg, _ := g.number()
		return g.pick("stale-while-revalidate=", "stale-if-error=", "Stale-If-Error=") + arg
	case 10:
		return g.pick(`ext="no-store, private"`, `x="a\", no-cache"`, "immutable", "no-transform", "no-storex", "xprivate", "=no-store", "ext=private")
	}
	arg, n := g.number()
	s.maxAge = append(s.maxAge, n)
	return g.anyCase("max-age") + "=" + arg
}

// cacheControl gives lines of Cache-Control.
func (g *gen) cacheControl(s *said) Header {
	var h Header
	for range g.rnd.IntN(3) {
		var line strings.Builder
		for i := range 1 + g.rnd.IntN(3) {
			d := g.directive(s)
			if i > 0 {
				line.WriteString(g.pick(", ", ",", " ,\t", ",, ,"))
			}
			line.WriteString(d)
			if strings.Count(d, `"`)%2 == 1 && !strings.Contains(d, `\`) {
				break // an open quote takes the rest of the line with it
			}
		}
		h = append(h, g.field("Cache-Control", line.String()))
	}
	return h
}

// targeted gives a CDN-Cache-Control, and false when it is void (RFC 9213 §2.2).
func (g *gen) targeted(s *said) (Field, bool) {
	var members []string
	for range 1 + g.rnd.IntN(3) {
		n := min(g.seconds(), MaxDelta)
		switch g.rnd.IntN(6) {
		case 0:
			s.noStore = true
			members = append(members, g.pick("no-store", "no-store=?1", "no-store;x", "no-store=1"))
		case 1:
			s.private = true
			members = append(members, "private")
		case 2:
			s.noCache = true
			members = append(members, "no-cache")
		case 3:
			s.sMaxAge = []int64{n} // a later member replaces an earlier one
			members = append(members, "s-maxage="+strconv.FormatInt(n, 10))
		case 4:
			s.public = true
			members = append(members, g.pick("public", "public;a=b"))
		default:
			s.maxAge = []int64{n}
			members = append(members, "max-age="+strconv.FormatInt(n, 10))
		}
	}
	text := strings.Join(members, g.pick(", ", ",", " , "))
	if g.chance(20) {
		return g.field("CDN-Cache-Control", g.pick(text+",", "Max-Age=1, "+text, text+` "`, "")), false
	}
	return g.field("CDN-Cache-Control", text), true
}

// date gives a date in one of the three formats of RFC 9110 §5.6.7.
func (g *gen) date(at time.Time) string {
	switch g.rnd.IntN(4) {
	case 0:
		return at.Format("Monday, 02-Jan-06 15:04:05 GMT")
	case 1:
		return at.Format("Mon Jan _2 15:04:05 2006")
	}
	return at.Format(http.TimeFormat)
}

// response is a response with what it means.
type response struct {
	in       Input
	said     said  // by the directives that apply
	expires  int64 // lifetime by Expires in seconds; -1 without
	age      time.Duration
	varyStar bool
	part     bool
	length   bool // Content-Length says something else than what came
}

var statuses = [...]int{0, 100, 103, 199, 200, 203, 204, 206, 226, 299, 301, 302, 304, 307, 308, 404, 410, 412, 416, 418, 429, 451, 500, 503, 511, 599, 600, 999}

func (g *gen) response() *response {
	r := &response{expires: -1}
	h := Header{g.field("Content-Type", "text/html"), g.field("X-A", "1"), g.field("X-B", "2"), g.field("X-Hop", "3")}
	h = append(h, g.cacheControl(&r.said)...)
	h = g.times(h, r)
	if g.chance(20) {
		var s said
		f, valid := g.targeted(&s)
		h = append(h, f)
		if g.chance(70) {
			r.in.Targets = []string{"CDN-Cache-Control"}
			if valid {
				r.said, r.expires = s, -1
			}
		}
	}
	h = g.others(h, r)
	g.rnd.Shuffle(len(h), func(i, j int) {
		// Lines of one name keep their order, which has a meaning.
		if !equalFoldBytes(h[i].Name, h[j].Name) && !equalFold(h[i].Name, "Age") && !equalFold(h[j].Name, "Age") {
			h[i], h[j] = h[j], h[i]
		}
	})
	r.in.Response = h
	g.circumstances(r)
	return r
}

// times adds Date, Age and Expires. Received is now.
func (g *gen) times(h Header, r *response) Header {
	r.in.Received = now
	r.in.Requested = now.Add(-time.Duration(g.rnd.IntN(3000)) * time.Millisecond)
	date := now
	if g.chance(70) {
		date = now.Add(time.Duration([]int{0, 0, -1, -30, -3600, 30, 86400}[g.rnd.IntN(7)]) * time.Second)
		h = append(h, g.field("Date", g.date(date)))
	}
	r.age = max(0, now.Sub(date))
	if g.chance(30) {
		n := g.seconds()
		h = append(h, g.field("Age", strconv.FormatInt(n, 10)+g.pick("", "", ", 7", ";x")))
		r.age = max(r.age, time.Duration(min(n, MaxDelta))*time.Second+now.Sub(r.in.Requested))
	}
	if g.chance(20) {
		life := int64(g.rnd.IntN(200)) - 100
		h = append(h, g.field("Expires", g.date(date.Add(time.Duration(life)*time.Second))))
		if r.expires = max(0, life); g.chance(20) {
			h = append(h, g.field("Expires", g.pick("0", "-1", "soon", "", g.date(date.Add(200*time.Second)))))
			r.expires = 0
		}
	}
	return h
}

// others adds the fields that have a say in storing.
func (g *gen) others(h Header, r *response) Header {
	add := func(percent int, name string, values ...string) string {
		if !g.chance(percent) {
			return ""
		}
		v := g.pick(values...)
		h = append(h, g.field(name, v))
		return v
	}
	add(40, "ETag", `"a"`, `W/"a"`, `"a,b"`, `""`, "a", `"a`, `"é"`)
	add(30, "Last-Modified", g.date(now.Add(-time.Hour)), g.date(now), "yesterday", "")
	add(12, "Set-Cookie", "a=b", "a=b; Path=/", "")
	add(5, "Set-Cookie2", "a=b")
	r.varyStar = strings.Contains(add(15, "Vary", "Accept", "Accept-Encoding, X-Q", "*", "Accept,*", ", ,accept", "*, Accept"), "*")
	add(20, "Connection", "X-Hop", "close, x-hop", "keep-alive")
	add(5, "Transfer-Encoding", "chunked")
	r.part = add(5, "Content-Range", "bytes 0-9/100", "items 1-2/3", "Bytes 1-2/*") != "" && !strings.HasPrefix(string(h[len(h)-1].Value), "items")
	r.length = add(15, "Content-Length", "10", "10", "11", "10, 10", "x", "-1") != "" && !strings.HasPrefix(string(h[len(h)-1].Value), "10")
	add(15, "Cache-Groups", `"a", "b"`, `"a"`, "a", `"a`)
	add(10, "No-Vary-Search", "key-order", `params=("a")`, `params, except=("x")`, "params=?0")
	add(10, "Content-Encoding", "gzip", "br", "weird")
	return h
}

// circumstances sets all but the response itself.
func (g *gen) circumstances(r *response) {
	in := &r.in
	in.MaxTTL, in.MaxObject, in.BodyLen, in.Complete = 24*time.Hour, 1000, 10, !g.chance(3)
	in.Method, in.Status, in.Scope = "GET", 200, Scope(g.pick("public", "public", "user", "session", ""))
	if g.chance(30) {
		in.Status = statuses[g.rnd.IntN(len(statuses))]
	}
	if g.chance(4) {
		in.Method = g.pick("HEAD", "POST", "get", "")
	}
	if g.chance(3) {
		in.BodyLen = int64(g.rnd.IntN(3000)) - 10
	}
	in.Request.NoStore = g.chance(3)
	in.Validates, in.HasAuthorization, in.Protected, in.Heuristic = g.chance(75), g.chance(20), g.chance(10), g.chance(10)
	short := func() time.Duration { return time.Duration(g.rnd.IntN(3)) * 20 * time.Second }
	in.Policy = &Policy{
		Override: g.chance(10), SetCookie: CookieMode(g.pick("", "", "refuse", "strip", "store")), TTL: short(), DefaultTTL: short(),
		NegativeTTL: short(), StaleIfError: short(), StaleWhileRevalidate: short(),
	}
	if g.chance(50) {
		in.Policy.TTL = 0
	}
	if g.chance(8) {
		in.Policy.Scope = ScopePublic
	}
}

// mutate returns the header with some bytes changed: its meaning is unknown then.
func (g *gen) mutate(h Header) Header {
	out := make(Header, len(h))
	for i, f := range h {
		out[i] = Field{f.Name, append([]byte(nil), f.Value...)}
	}
	const bytes = "\",;=\\*W/-0129 \t()?:@%aZ\x00\x7f\xff\r\n"
	for range 1 + g.rnd.IntN(4) {
		v := &out[g.rnd.IntN(len(out))].Value
		at := g.rnd.IntN(len(*v) + 1)
		c := bytes[g.rnd.IntN(len(bytes))]
		switch {
		case at == len(*v):
			*v = append(*v, c)
		case g.chance(30):
			*v = append((*v)[:at], (*v)[at+1:]...)
		case g.chance(20):
			*v = append(*v, (*v)[at:]...)
		default:
			(*v)[at] = c
		}
	}
	return out
}
