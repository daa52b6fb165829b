package pillion

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pillion-proxy/pillion/internal/strictyaml"
	"github.com/pillion-proxy/pillion/proxy/upstream"
)

func (v *validator) upstream() { v.upstreamAt("upstream", v.cfg.Upstream) }

func (v *validator) upstreams() {
	const remedy = "write 1 to 64 lower-case letters, digits, - and _"
	names := map[string]int{}
	for i, u := range v.cfg.Upstreams {
		at := fmt.Sprintf("upstreams[%d]", i)
		if ok, _ := regexp.MatchString(`^[a-z0-9_-]{1,64}$`, u.Name); !ok {
			v.add(at+".name", u.Name, orEmpty(u.Name, "is not a valid name of an upstream"), remedy)
		} else if u.Name == defaultUpstream {
			v.add(at+".name", u.Name, "is the name of upstream, in metrics", "write another name")
		}
		v.unique(at+".name", u.Name, "upstreams", names, i)
		v.upstreamAt(at, u.Config)
	}
}

// upstreamAt checks the settings of one application, at their key.
func (v *validator) upstreamAt(at string, u upstream.Config) {
	v.upstreamURL(at+".url", u.URL)
	v.upstreamTLS(at, u)
	v.positive(at+".timeouts.connect", u.Timeouts.Connect)
	v.positive(at+".timeouts.response_header", u.Timeouts.ResponseHeader)
	v.positive(at+".timeouts.idle", u.Timeouts.Idle)
	v.between(at+".max_connections", u.MaxConnections, 1, 1<<20)
	v.atMost(at+".wait", u.Wait, 10*time.Minute)
	v.health(at+".health", u.Health)
	v.between(at+".breaker.failures", u.Breaker.Failures, 0, 1<<20)
	v.positive(at+".breaker.open", u.Breaker.Open)
}

func (v *validator) upstreamURL(key, text string) {
	const remedy = "write http://host:port, https://host:port or unix:///path/to/socket"
	u, err := url.Parse(text)
	switch {
	case text == "":
		v.add(key, "", "is empty", remedy)
	case err != nil:
		v.add(key, text, "is not a URL", remedy)
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "unix":
		v.add(key, text, "has none of the schemes http, https and unix", remedy)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		v.add(key, text, "has more than a host and a port", remedy)
	case u.Scheme == "unix":
		if u.Host != "" || !socketPath(u.Path) {
			v.add(key, text, "has no absolute path of a socket of at most 107 bytes", "write unix:///path/to/socket, with three slashes")
		}
	case u.Path != "" && u.Path != "/":
		v.add(key, text, "has a path", "write "+u.Scheme+"://host:port: a request keeps its own path")
	case u.Hostname() == "":
		v.add(key, text, "has no host", remedy)
	case !portNumber(u.Port(), true):
		v.add(key, text, "has no valid port", "write a port from 1 to 65535")
	}
}

func (v *validator) upstreamTLS(at string, u upstream.Config) {
	t, key := u.TLS, at+".tls"
	unused := t == upstream.TLS{MinVersion: upstream.Default().TLS.MinVersion}
	if !unused && !strings.HasPrefix(u.URL, "https://") && !v.suspect(at+".url") {
		v.add(key, "", "is set, but "+at+".url does not begin with https://", "write https:// in "+at+".url, or remove "+key)
	}
	v.tlsFiles(key, t.CA, t.Cert, t.Key, t.ServerName)
	v.oneOf(key+".min_version", t.MinVersion, "a version of TLS that is safe", "1.2", "1.3")
}

func (v *validator) health(at string, h upstream.Health) {
	const remedy = `write a path that begins with "/", such as /healthz`
	switch {
	case h.Path == "" && v.isSet(at+".path"):
		v.add(at+".path", "", "is empty", remedy+", or remove the key for no check")
	case h.Path != "" && !strings.HasPrefix(h.Path, "/"):
		v.add(at+".path", h.Path, `does not begin with "/"`, remedy)
	case strings.IndexFunc(h.Path, func(c rune) bool { return c <= ' ' || c == '#' || c >= 0x7f }) >= 0:
		v.add(at+".path", h.Path, "has a character that a request's target cannot have", "percent-encode it")
	}
	v.positive(at+".interval", h.Interval)
	v.positive(at+".timeout", h.Timeout)
	v.between(at+".unhealthy", h.Unhealthy, 1, 1000)
	v.between(at+".healthy", h.Healthy, 1, 1000)
}

// upstreamName checks the name of the application that a rule sends its requests to, or a
// queue its tasks.
func (v *validator) upstreamName(key, name string) {
	if name == "" {
		if v.isSet(key) {
			v.add(key, "", "is empty", "name an entry of upstreams, or remove the key for the main application")
		}
		return
	}
	var names []string
	for _, u := range v.cfg.Upstreams {
		if u.Name == name {
			return
		}
		if u.Name != "" {
			names = append(names, u.Name)
		}
	}
	if v.suspect("upstreams") {
		return // the name may be in what could not be read
	}
	remedy := "remove the key for the main application"
	if near := strictyaml.Nearest(name, names); near != "" {
		remedy = "did you mean " + strconv.Quote(near) + "?"
	} else if name != defaultUpstream {
		remedy = "add it to upstreams, or " + remedy
	}
	v.add(key, name, "is not in upstreams", remedy)
}
