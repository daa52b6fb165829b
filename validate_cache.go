package pillion

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/internal/strictyaml"
	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/sessioncheck"
	"github.com/pillion-proxy/pillion/units"
)

// longestTTL bounds cache.max_ttl: purge marks live longer than it, and Redis must
// be able to add that to the time of day.
const longestTTL = 10 * 365 * 24 * time.Hour

func (v *validator) cache() {
	c := v.cfg.Cache
	if c.Memory < units.MiB {
		v.add("cache.memory", c.Memory.String(), "is less than 1MiB", "write at least 1MiB")
	}
	switch {
	case c.MaxObject <= 0:
		v.add("cache.max_object", c.MaxObject.String(), "is not more than zero", "write a size, such as 1MiB")
	case c.Memory >= units.MiB && c.MaxObject > c.Memory/8:
		// A few large objects would push everything else out of the memory.
		v.tooLargeObject(c.MaxObject, c.Memory)
	}
	v.positive("cache.max_ttl", c.MaxTTL)
	v.atMost("cache.max_ttl", max(c.MaxTTL, 0), longestTTL)
	v.atMost("cache.keep", c.Keep, cache.MaxStale)
	v.fields("cache.targets", c.Targets, "write the name of a response field, such as CDN-Cache-Control")
	for i, name := range c.Targets {
		if strings.EqualFold(name, "Cache-Control") {
			v.add(v.element("cache.targets", i), name, "is the field that targeted fields replace, and is read anyway", "remove it")
		}
	}
	v.fields("cache.tag_fields", c.TagFields, "write the name of a response field, such as Cache-Tag")
	for i, cidr := range c.PurgeFrom {
		v.network(v.element("cache.purge_from", i), cidr)
	}
}

// fields checks a list of field names, of which none may come twice.
func (v *validator) fields(at string, names []string, remedy string) {
	for i, name := range names {
		if !isToken(name) {
			v.add(v.element(at, i), name, orEmpty(name, "is not a valid header name"), remedy)
		}
	}
	v.twice(at, names, strings.EqualFold)
}

// twice reports each entry of a list that is there already.
func (v *validator) twice(at string, names []string, same func(a, b string) bool) {
	for i, name := range names {
		first := slices.IndexFunc(names, func(n string) bool { return same(n, name) })
		if first < i && name != "" {
			v.add(v.element(at, i), name, fmt.Sprintf("is the same as %s", v.element(at, first)), "remove one of the two")
		}
	}
}

// tooLargeObject reports the one of the two sizes that the user set.
func (v *validator) tooLargeObject(object, memory units.Size) {
	if !v.isSet("cache.max_object") && v.isSet("cache.memory") {
		v.add("cache.memory", memory.String(), fmt.Sprintf("is less than eight times cache.max_object, which is %s", object),
			fmt.Sprintf("write at least %s, or lower cache.max_object", object*8))
		return
	}
	v.add("cache.max_object", object.String(), fmt.Sprintf("is more than an eighth of cache.memory, which is %s", memory),
		fmt.Sprintf("write at most %s, or raise cache.memory", memory/8))
}

func (v *validator) cachePolicy(at string, r proxy.Rule, params map[string]bool) {
	c := r.Cache
	if mode := v.modeKey(at); c.Mode != "" || v.isSet(mode) && mode != at {
		v.oneOf(mode, string(c.Mode), "a cache mode", "on", "off")
	}
	v.lifetimes(at, c)
	if c.Mode == cache.ModeOff {
		v.cacheOff(at, c)
	}
	v.word(at+".scope", string(c.Scope), "a cache scope", "public", "user", "session")
	v.word(at+".set_cookie", string(c.SetCookie), "a setting for Set-Cookie", "refuse", "strip", "store")
	v.word(at+".match_type", string(c.MatchType), "a setting for match_type", "on", "off")
	if r.Session.Mode == sessioncheck.ModeNone && (c.Scope == cache.ScopeUser || c.Scope == cache.ScopeSession) {
		v.add(at+".scope", string(c.Scope), "needs a session, but the rule has session: none", "write scope: public, or session: required")
	}
	for i, tag := range c.Tags {
		v.tag(v.element(at+".tags", i), tag, r, params)
	}
	v.query(at+".query", c.Query)
	v.key(at+".key", r)
	v.bypass(at+".bypass", c.Bypass)
}

// word checks one of some words, unless it is absent.
func (v *validator) word(key, value, what string, allowed ...string) {
	if value != "" || v.isSet(key) {
		v.oneOf(key, value, what, allowed...)
	}
}

func (v *validator) lifetimes(at string, c cache.Policy) {
	v.notNegative(at+".ttl", c.TTL)
	v.notNegative(at+".default_ttl", c.DefaultTTL)
	v.notNegative(at+".negative_ttl", c.NegativeTTL)
	v.atMost(at+".stale_while_revalidate", c.StaleWhileRevalidate, cache.MaxStale)
	v.atMost(at+".stale_if_error", c.StaleIfError, cache.MaxStale)
	if c.Jitter < 0 || c.Jitter > 100 {
		v.add(at+".jitter", c.Jitter.String(), "is out of range", "write a percentage from 0% to 100%")
	}
	positive := c.TTL > 0
	for _, status := range slices.Sorted(maps.Keys(c.StatusTTL)) {
		v.statusTTL(keyPath(at+".status_ttl", strconv.Itoa(status)), status, c.StatusTTL[status])
		positive = positive || c.StatusTTL[status] > 0
	}
	if c.DefaultTTL > 0 && c.TTL > 0 {
		v.add(at+".default_ttl", strictyaml.Duration(c.DefaultTTL), "is set beside ttl, which always wins over it", "remove one of the two")
	}
	if c.Override && !positive && c.Mode != cache.ModeOff {
		v.add(at+".override", "", "is set, but there is no lifetime that could override the application's", "set ttl or status_ttl, or remove it")
	}
}

func (v *validator) statusTTL(key string, status int, ttl time.Duration) {
	v.notNegative(key, ttl)
	switch {
	case status < 200 || status > 599:
		v.add(key, "", "is not a status from 200 to 599", "write the status of a final response, such as 404")
	case neverStored(status):
		v.add(key, "", "has a status that it cannot give a lifetime", "remove it")
	}
}

// neverStored asks the cache itself: it lists what no setting makes storable.
func neverStored(status int) bool {
	d := cache.DecideHead(&cache.Input{Method: "GET", Status: status})
	return d.Reason == cache.ReasonStatus || d.Reason == cache.ReasonPartial
}

// cacheOff reports the settings that an uncached rule never uses.
func (v *validator) cacheOff(at string, c cache.Policy) {
	unused := []struct {
		name string
		set  bool
	}{
		{"ttl", c.TTL != 0}, {"jitter", c.Jitter != 0}, {"default_ttl", c.DefaultTTL != 0}, {"override", c.Override},
		{"negative_ttl", c.NegativeTTL != 0}, {"status_ttl", len(c.StatusTTL) > 0}, {"heuristic", c.Heuristic},
		{"stale_while_revalidate", c.StaleWhileRevalidate != 0}, {"stale_if_error", c.StaleIfError != 0},
		{"set_cookie", c.SetCookie != ""}, {"match_type", c.MatchType != ""}, {"post", c.Post}, {"scope", c.Scope != ""}, {"tags", len(c.Tags) > 0},
		{"query", len(c.Query.Ignore)+len(c.Query.Only) > 0 || c.Query.Sort},
		{"key", len(c.Key.Headers)+len(c.Key.Cookies)+len(c.Key.Session) > 0},
		{"bypass", len(c.Bypass.Headers)+len(c.Bypass.Cookies)+len(c.Bypass.Query) > 0},
	}
	for _, u := range unused {
		if u.set {
			v.add(at+"."+u.name, "", "is set, but mode is off", "remove it, or write mode: on")
		}
	}
}

func (v *validator) query(at string, q cache.Query) {
	if q.Only != nil && len(q.Only) == 0 {
		v.add(at+".only", "", "is empty, and every parameter would take part", "name at least one, or remove the key")
	}
	for i, glob := range q.Ignore {
		_, err := cache.CompileQuery(cache.Query{Ignore: []string{glob}})
		v.parameter(v.element(at+".ignore", i), glob, err)
	}
	for i, glob := range q.Only {
		_, err := cache.CompileQuery(cache.Query{Only: []string{glob}})
		v.parameter(v.element(at+".only", i), glob, err)
	}
}

// parameter checks a glob of parameter names.
func (v *validator) parameter(key, glob string, err error) {
	const remedy = `name a query parameter, such as "utm_*"`
	switch {
	case err != nil:
		v.add(key, glob, orEmpty(glob, "is not a glob"), remedy)
	case strings.ContainsAny(glob, "=&"):
		v.add(key, glob, `has "=" or "&" in it, which no parameter name has`, remedy)
	}
}

func (v *validator) key(at string, r proxy.Rule) {
	k := r.Cache.Key
	v.fields(at+".headers", k.Headers, "write the name of a request header, such as Accept-Language")
	for i, name := range k.Headers {
		key := v.element(at+".headers", i)
		switch {
		case strings.EqualFold(name, "Cookie"):
			v.add(key, name, "is the field that holds cookies", "name the cookies in key.cookies")
		case strings.EqualFold(name, "Host"):
			v.add(key, name, "takes part in every key", "remove it")
		default:
			v.notIdentityOf(key, name, "name the session field in key.session")
		}
	}
	for i, name := range k.Cookies {
		if !isToken(name) {
			v.add(v.element(at+".cookies", i), name, orEmpty(name, "is not a valid cookie name"), "write letters, digits, - and _ only")
		}
	}
	v.twice(at+".cookies", k.Cookies, func(a, b string) bool { return a == b })
	for i, field := range k.Session {
		if field == "" {
			v.add(v.element(at+".session", i), "", "is empty", "name a session field, such as plan")
		}
	}
	v.twice(at+".session", k.Session, func(a, b string) bool { return a == b })
	if r.Session.Mode == sessioncheck.ModeNone && len(k.Session) > 0 {
		v.add(at+".session", "", "needs a session, but the rule has session: none", "remove it, or write session: required")
	}
}

func (v *validator) bypass(at string, b cache.Bypass) {
	for _, name := range slices.Sorted(maps.Keys(b.Headers)) {
		key := keyPath(at+".headers", name)
		_, err := cache.CompileBypass(cache.Bypass{Headers: map[string]string{name: b.Headers[name]}})
		switch {
		case err != nil:
			v.add(key, name, "is not a valid header name", "write letters, digits and hyphens only, such as X-Preview")
		case strings.EqualFold(name, "Cookie"):
			v.add(key, name, "is the field that holds cookies", "name the cookies in bypass.cookies")
		default:
			v.notIdentityOf(key, name, "use another header")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.Cookies)) {
		if _, err := cache.CompileBypass(cache.Bypass{Cookies: map[string]string{name: ""}}); err != nil {
			v.add(keyPath(at+".cookies", name), name, "is not a valid cookie name", "write letters, digits, - and _ only")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.Query)) {
		if _, err := cache.CompileBypass(cache.Bypass{Query: map[string]string{name: ""}}); err != nil {
			v.add(keyPath(at+".query", name), "", "is not the name of a parameter", "write a name, such as preview")
		}
	}
}
