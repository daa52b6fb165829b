package pillion

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pillion-proxy/pillion/redisconn"
)

const keyRedisURL = "redis.url"

func (v *validator) redis() {
	r := v.cfg.Redis
	v.redisTopology(r)
	v.redisTLS(r)
	v.redisPrefix(r.Prefix)
	v.positive("redis.timeout", r.Timeout)
	// The heartbeat runs at a quarter of it. Below 25 ms, a pause of the garbage
	// collector or of the scheduler would look like a lost connection.
	if r.MaxStaleness < 100*time.Millisecond {
		v.add("redis.max_staleness", r.MaxStaleness.String(), "is less than 100ms, and the heartbeat runs at a quarter of it", "write at least 100ms")
	}
}

// redisTopology checks that exactly one of url, cluster and sentinel is used.
// The default URL gives way to the other two.
func (v *validator) redisTopology(r redisconn.Config) {
	s := r.Sentinel
	url := r.URL != "" && v.isSet(keyRedisURL)
	switch {
	case s.Master != "" && len(r.Cluster) > 0:
		v.add("redis.cluster", "", "is set beside redis.sentinel.master", "keep one of the two")
	case url && s.Master != "":
		v.add(keyRedisURL, r.URL, "is set beside redis.sentinel.master", "keep one of the two")
	case url && len(r.Cluster) > 0:
		v.add(keyRedisURL, r.URL, "is set beside redis.cluster", "keep one of the two")
	}
	v.sentinel(s)
	for i, a := range r.Cluster {
		v.hostPort(v.element("redis.cluster", i), a, "write host:port, such as 10.0.0.1:6379", false)
	}
	if s.Master != "" || len(r.Cluster) > 0 {
		if r.Username != "" && r.Password == "" {
			v.add("redis.username", r.Username, "is set without redis.password", "set both, or remove it")
		}
		return
	}
	v.redisURL(r.URL)
	if r.Username != "" {
		v.add("redis.username", r.Username, "is used only with redis.cluster or redis.sentinel", "write it in redis.url: redis://user:password@host:6379/0")
	}
	if r.Password != "" {
		v.add("redis.password", r.Password, "is used only with redis.cluster or redis.sentinel", "write it in redis.url: redis://user:password@host:6379/0")
	}
}

func (v *validator) sentinel(s redisconn.Sentinel) {
	if s.Master != "" && len(s.Addresses) == 0 {
		v.add("redis.sentinel.addresses", "", "is empty", "write the host:port of each sentinel, such as [10.0.0.1:26379]")
	}
	if s.Master == "" {
		if len(s.Addresses) > 0 || s.Username != "" || s.Password != "" {
			v.add("redis.sentinel.master", "", "is empty", "write the name of the master that the sentinels watch")
		}
		return
	}
	v.bounded("redis.sentinel.master", s.Master, "write the name of the master that the sentinels watch")
	for i, a := range s.Addresses {
		v.hostPort(v.element("redis.sentinel.addresses", i), a, "write host:port, such as 10.0.0.1:26379", false)
	}
	if s.Username != "" && s.Password == "" {
		v.add("redis.sentinel.username", s.Username, "is set without redis.sentinel.password", "set both, or remove it")
	}
}

// redisURL never repeats the parser's words: they hold the password.
func (v *validator) redisURL(text string) {
	const remedy = "write redis://user:password@host:6379/0, rediss:// for TLS, or unix:///path/to/socket"
	u, err := url.Parse(text)
	switch {
	case text == "":
		v.add(keyRedisURL, "", "is empty", remedy)
	case err != nil:
		v.add(keyRedisURL, text, "is not a URL", remedy+"; percent-encode special characters of the password")
	case u.Scheme != "redis" && u.Scheme != "rediss" && u.Scheme != "unix":
		v.add(keyRedisURL, text, "has none of the schemes redis, rediss and unix", remedy)
	case u.Fragment != "" || strings.Contains(text, "#"):
		v.add(keyRedisURL, text, "has a #", "percent-encode it as %23 if it belongs to the password")
	case u.Scheme == "unix":
		if !socketPath(u.Path) || u.Host != "" {
			v.add(keyRedisURL, text, "has no absolute path of a socket of at most 107 bytes", "write unix:///path/to/socket, with three slashes")
		} else if db := u.Query().Get("db"); u.Query().Has("db") && !database(db) {
			v.add(keyRedisURL, text, "has no valid database number", "end it with ?db=0, or leave the number out")
		}
	case !hostName(u.Hostname()):
		v.add(keyRedisURL, text, "has no valid host", remedy)
	case !portNumber(u.Port(), true):
		v.add(keyRedisURL, text, "has no valid port", "write a port from 1 to 65535")
	case u.Path != "" && u.Path != "/" && !database(strings.TrimPrefix(u.Path, "/")):
		v.add(keyRedisURL, text, "has no valid database number", "end it with /0, or leave the number out")
	}
}

func database(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && strconv.FormatUint(n, 10) == s
}

func (v *validator) redisTLS(r redisconn.Config) {
	t := r.TLS
	if t == (redisconn.TLS{}) {
		return
	}
	if usesURL := r.Sentinel.Master == "" && len(r.Cluster) == 0; usesURL && !strings.HasPrefix(r.URL, "rediss://") {
		v.add("redis.tls", "", "is set, but redis.url does not begin with rediss://", "write rediss:// in redis.url, or remove redis.tls")
	}
	v.tlsFiles("redis.tls", t.CA, t.Cert, t.Key, t.ServerName)
}

// redisPrefix keeps the prefix from being a pattern to SCAN, and from choosing
// the cluster slot of every key.
func (v *validator) redisPrefix(prefix string) {
	const remedy = "write letters, digits and colons, such as pillion:"
	if !v.bounded("redis.prefix", prefix, remedy) {
		return
	}
	if strings.ContainsAny(prefix, `*?[]\`) {
		v.add("redis.prefix", prefix, `has one of the pattern characters * ? [ ] \`, remedy)
	} else if strings.ContainsAny(prefix, "{}") {
		v.add("redis.prefix", prefix, "has a brace, which would put every key into one slot of a cluster", remedy)
	}
}
