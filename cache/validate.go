package cache

import (
	"bytes"
	"time"
)

// Validators are what a stored response can be validated by (RFC 9111 §4.3.1). They
// alias its header.
type Validators struct {
	// ETag is the entity tag as the origin sent it, or nil.
	ETag []byte
	// LastModified is the date as the origin sent it, or nil.
	LastModified []byte
}

// Any reports whether there is a validator at all.
func (v Validators) Any() bool { return len(v.ETag) > 0 || len(v.LastModified) > 0 }

// ValidatorsOf gives the validators of a response. An ETag that would not survive a
// list of tags, one with a comma outside its quotes, is none; a bare word, which
// some applications send, is taken as it is. A Last-Modified that is no date, or
// comes twice, is none. It does not allocate.
func ValidatorsOf(h Header, received time.Time) Validators {
	var v Validators
	tags, dates := 0, 0
	for i := range h {
		switch value := h[i].Value; {
		case equalFold(h[i].Name, "ETag"):
			tags++
			v.ETag = value
		case equalFold(h[i].Name, "Last-Modified"):
			dates++
			v.LastModified = value
		}
	}
	if tags != 1 || !usableTag(v.ETag) {
		v.ETag = nil
	}
	if _, ok := ParseDate(v.LastModified, received); dates != 1 || !ok {
		v.LastModified = nil
	}
	return v
}

// usableTag accepts an entity tag (RFC 9110 §8.8.3), and a token.
func usableTag(b []byte) bool {
	tag := opaqueTag(b)
	if len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return isToken(b) && !(len(b) == 1 && b[0] == '*')
	}
	for _, c := range tag[1 : len(tag)-1] {
		if c == '"' || c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// isStrong reports whether an entity tag is a strong validator.
func isStrong(etag []byte) bool { return len(etag) > 0 && etag[0] == '"' }

// Conditions are the fields of a request that validates a stored response.
type Conditions struct {
	// Stored are the validators that the request asks about.
	Stored Validators
	// Client holds the entity tags of the client that are asked about too, as they
	// stand in its If-None-Match.
	Client []byte
}

// ConditionsFor gives the conditions by which stored is validated for a request
// (RFC 9111 §4.3.1). client is the request's own header, when what comes back is
// for this client alone; then entity tags that it holds, other than the stored one,
// are asked about too, so that an origin that has what the client has answers
// without a body. For a fetch that others wait for it is nil: a 304 for one
// client's copy would leave the others with nothing. The client's own dates take no
// part: they are compared with the stored response once that is validated.
func ConditionsFor(stored, client Header, received time.Time) Conditions {
	c := Conditions{Stored: ValidatorsOf(stored, received)}
	if len(c.Stored.ETag) == 0 || !client.Has("If-None-Match") || matchesAny(client, c.Stored.ETag) {
		return c
	}
	joined, _ := client.AppendJoined(nil, []byte("If-None-Match"))
	if len(joined) <= maxClientTags && isFieldValue(joined) {
		c.Client = joined
	}
	return c
}

// maxClientTags bounds the client's part of a conditional request, in bytes.
const maxClientTags = 2048

// AppendFields appends If-None-Match and If-Modified-Since, whichever there are
// validators for; both when there are both. They replace the client's own.
func (c *Conditions) AppendFields(dst Header) Header {
	if tag := c.Stored.ETag; len(tag) > 0 {
		if len(c.Client) > 0 {
			tag = append(append(append([]byte(nil), tag...), ", "...), c.Client...)
		}
		dst = append(dst, Field{Name: []byte("If-None-Match"), Value: tag})
	}
	if len(c.Stored.LastModified) > 0 {
		dst = append(dst, Field{Name: []byte("If-Modified-Since"), Value: c.Stored.LastModified})
	}
	return dst
}

// Validation says what a 304 means.
type Validation uint8

// The meanings.
const (
	// ValidationOther: the 304 is about neither the stored response nor the
	// client's copy. Nothing is updated, and the request is to be repeated without
	// conditions.
	ValidationOther Validation = iota
	// ValidationStored: it confirms the stored response; see Freshen.
	ValidationStored
	// ValidationClient: it confirms what the client has, and not the stored
	// response, which stays as it is. The 304 is for the client.
	ValidationClient
)

// Validated says what a 304 to a request with these conditions means (RFC 9111
// §4.3.3, §4.3.4): the validator that it carries selects. Where it carries none,
// and only the stored response was asked about, it means that one.
//
// In one case it goes beyond §4.3.4: a 304 with another ETag than the one that the
// request named, when the request had no other condition. An origin that evaluates
// If-None-Match can only have meant the tag it was asked about (RFC 9110 §13.1.2),
// so its ETag is the mistake and the stored one stays.
func (c *Conditions) Validated(response Header, received time.Time) Validation {
	stored := c.Stored
	alone := len(c.Client) == 0
	if response.Has("ETag") {
		etag := trimSpace(response.Get("ETag"))
		switch {
		case len(stored.ETag) == 0: // asked by date, and there was no tag before
			return validationIf(sameDate(response, stored.LastModified, received))
		case weakMatch(etag, stored.ETag) && (alone || isStrong(etag) == isStrong(stored.ETag)):
			return ValidationStored
		case !alone && listed(c.Client, etag):
			return ValidationClient
		}
		return validationIf(alone && len(stored.LastModified) == 0)
	}
	if response.Has("Last-Modified") && len(stored.LastModified) > 0 {
		return validationIf(alone && sameDate(response, stored.LastModified, received))
	}
	return validationIf(alone && stored.Any())
}

func validationIf(ok bool) Validation {
	if ok {
		return ValidationStored
	}
	return ValidationOther
}

// listed reports whether a list of entity tags has the tag, by the weak comparison.
func listed(list, etag []byte) bool {
	for len(list) > 0 {
		var candidate []byte
		if candidate, list = nextETag(list); len(candidate) > 0 && weakMatch(candidate, etag) {
			return true
		}
	}
	return false
}

// sameDate reports whether the response's Last-Modified is the stored one, or
// absent.
func sameDate(response Header, stored []byte, received time.Time) bool {
	if !response.Has("Last-Modified") {
		return len(stored) > 0
	}
	a, ok := ParseDate(trimSpace(response.Get("Last-Modified")), received)
	b, also := ParseDate(stored, received)
	return ok && also && a.Equal(b)
}

// Freshened is a stored response after an update.
type Freshened struct {
	// Header is what is stored from now on, and what the client gets. Its fields
	// alias the two headers that it was made from.
	Header Header
	// Decision is Decide's about the updated response. Without Store the entry must
	// go: the 304 may say no-store. VaryNames may differ from what the entry is
	// stored under, and then it must be stored anew under those.
	Decision Decision
}

// Freshen updates a stored response from a 304 that validated it, or from the
// response to a HEAD (RFC 9111 §3.2, §4.3.4, §4.3.5). in is the input of the
// request that brought update, but for Status, which is the stored one; its Method
// and Response are not read, and BodyLen and Complete do not matter. update must have a
// Date, which the proxy adds where the origin sends none: the stored one goes.
//
// A cookie in update becomes part of what is stored only when the policy stores
// cookies. The client that caused the validation should get it regardless.
func Freshen(in *Input, stored, update Header) Freshened {
	merged := AppendFreshened(make(Header, 0, len(stored)+len(update)+1), stored, update, in.storesCookies())
	again := *in
	again.Method = "GET" // what is stored was the answer to one, also where a HEAD updates it
	// The age on arrival is the update's. It is no part of what is stored.
	again.Response = merged
	for i := range update {
		if equalFold(update[i].Name, "Age") {
			again.Response = append(again.Response, update[i])
		}
	}
	d := DecideHead(&again)
	if !d.Store {
		return Freshened{Header: merged, Decision: d}
	}
	return Freshened{Header: AppendStoredExcept(make(Header, 0, len(merged)), merged, d.Omit), Decision: d}
}

func (in *Input) storesCookies() bool { return in.Policy != nil && in.Policy.SetCookie == CookieStore }

// AppendFreshened appends to dst the header of a stored response after an update
// (RFC 9111 §3.2): each field of the update takes the place of all stored lines with
// its name; the others stay. Exempt are the fields that are not stored, those that
// describe the stored body itself, and, unless cookies is set, cookies. It allocates
// only when dst has no room.
func AppendFreshened(dst, stored, update Header, cookies bool) Header {
	for i := range stored {
		name := stored[i].Name
		replaced := equalFold(name, "Date")
		for j := 0; j < len(update) && !replaced; j++ {
			replaced = equalFoldBytes(update[j].Name, name) && updates(update, update[j].Name, cookies)
		}
		if !replaced {
			dst = append(dst, stored[i])
		}
	}
	for i := range update {
		if updates(update, update[i].Name, cookies) {
			dst = append(dst, update[i])
		}
	}
	return dst
}

// updates reports whether a field of an update replaces the stored one.
func updates(update Header, name []byte, cookies bool) bool {
	return !notStored(name) && !describesBody(name) && (cookies || !isSetCookie(name)) && !nominated(update, name)
}

// describesBody lists the fields that belong to the bytes of the stored body, which
// a 304 does not change. ETag is among them: it was equal, or it is a mistake. RFC
// 9111 §3.2 exempts Content-Length, and lets a cache exempt what its stored form
// depends on. Content-Type is not exempt.
func describesBody(name []byte) bool {
	switch len(name) {
	case 4:
		return equalFold(name, "ETag")
	case 6:
		return equalFold(name, "Digest")
	case 11:
		return equalFold(name, "Content-MD5") || equalFold(name, "Repr-Digest")
	case 13:
		return equalFold(name, "Content-Range")
	case 14:
		return equalFold(name, "Content-Length") || equalFold(name, "Content-Digest")
	case 16:
		return equalFold(name, "Content-Encoding")
	}
	return false
}

// HeadEffect says what the response to a HEAD does to a stored response.
type HeadEffect uint8

// The effects.
const (
	// HeadNone leaves it alone.
	HeadNone HeadEffect = iota
	// HeadFreshen updates it; see Freshen.
	HeadFreshen
	// HeadStale makes it stale: there is something newer (Entry.SoftPurgedAt).
	HeadStale
)

// EffectOfHead says what a response to a HEAD does to the response stored for a GET
// of the same target and the same selecting fields (RFC 9111 §4.3.5). Only a 200 on
// a stored 200 does anything. bodyLen is the length of the stored body in bytes. It
// does not allocate.
func EffectOfHead(stored Header, storedStatus int, bodyLen int64, status int, response Header) HeadEffect {
	if status != 200 || storedStatus != 200 {
		return HeadNone
	}
	for _, name := range [...]string{"ETag", "Last-Modified"} {
		if response.Has(name) && !bytes.Equal(trimSpace(response.Get(name)), trimSpace(stored.Get(name))) {
			return HeadStale
		}
	}
	if response.Has("Content-Length") && declaredLength(response) != bodyLen {
		return HeadStale
	}
	return HeadFreshen
}
