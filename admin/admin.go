// Package admin is the listener beside the proxy: health, metrics and the API that
// changes state. It is on loopback by default.
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Purge says what to purge: exactly one of Tag, Host with Target, Prefix, Glob and All.
type Purge struct {
	Tag          string
	Host, Target string // of one URL; the target is path and query
	// Prefix and Glob are about host and target together, "shop.example/a", or, when
	// they begin with "/", about the target on every host. "*" in Glob stands for any
	// characters.
	Prefix, Glob string
	All          bool
	// Soft marks responses stale instead of removing them: they may be validated, or
	// served while that is done.
	Soft bool
}

// Purger makes stored responses invalid. Its call returns when this process no longer
// serves them. purged is how many keys it removed or marked, where that is known; a
// purge by tag is one write and does not count.
type Purger interface {
	Purge(ctx context.Context, what Purge) (purged int, err error)
}

// Deps are what the listener shows and does.
type Deps struct {
	// Ready says whether requests are to be sent here, and details for a person.
	Ready   func() (ready bool, details map[string]any)
	Metrics prometheus.Gatherer
	Purger  Purger
	// Sessions is nil where there is nothing to ask about them.
	Sessions Sessions
	// Enqueuer is nil where there are no queues to add tasks to.
	Enqueuer Enqueuer
	// Queues is nil where there are none to ask about.
	Queues Queues
}

// Server is the admin listener.
type Server struct {
	http  http.Server
	deps  Deps
	token [sha256.Size]byte
	open  bool // without a token: only from loopback to loopback
}

// New makes a server. Call Serve to start it.
func New(cfg Config, deps Deps) *Server {
	s := &Server{deps: deps, open: cfg.Token == "", token: sha256.Sum256([]byte(cfg.Token))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, map[string]any{"status": "ok"}) })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(deps.Metrics, promhttp.HandlerOpts{}))
	mux.Handle("POST /purge", s.guarded(s.purge))
	s.handleSessions(mux)
	s.handleEnqueue(mux)
	s.handleQueues(mux)
	s.http = http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      5 * time.Minute, // a purge that scans takes its time
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
	return s
}

// Serve accepts connections until Shutdown.
func (s *Server) Serve(ln net.Listener) error {
	if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown lets requests in flight finish until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.Shutdown(ctx) }

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	ready, details := s.deps.Ready()
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, details)
}

// guarded lets a call through that changes state: with the token, or, where none
// is set, from loopback to a loopback listener without a browser in between.
func (s *Server) guarded(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.allowed(r) {
			next(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="pillion admin"`)
		writeProblem(w, http.StatusUnauthorized, "Send admin.token as a bearer token: Authorization: Bearer …")
	})
}

func (s *Server) allowed(r *http.Request) bool {
	if !s.open {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		sum := sha256.Sum256([]byte(token))
		return ok && subtle.ConstantTimeCompare(sum[:], s.token[:]) == 1
	}
	// A page in a browser on this machine could post here too; browsers say where
	// a request comes from.
	if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return false
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return local != nil && loopback(local.String()) && loopback(r.RemoteAddr)
}

func loopback(addr string) bool {
	ap, err := netip.ParseAddrPort(addr)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// purgeRequest is the body of POST /purge: exactly one field is set, and soft beside it.
type purgeRequest struct {
	Tag    string `json:"tag"`
	URL    string `json:"url"`
	Prefix string `json:"prefix"`
	Glob   string `json:"glob"`
	All    bool   `json:"all"`
	Soft   bool   `json:"soft"`
}

// parse checks that exactly one thing is to be purged.
func (r *purgeRequest) parse() (p Purge, problem string) {
	n := 0
	for _, set := range []bool{r.Tag != "", r.URL != "", r.Prefix != "", r.Glob != "", r.All} {
		if set {
			n++
		}
	}
	if n != 1 {
		return p, `Give exactly one of "tag", "url", "prefix", "glob" and "all".`
	}
	p = Purge{Tag: r.Tag, Prefix: withoutScheme(r.Prefix), Glob: withoutScheme(r.Glob), All: r.All, Soft: r.Soft}
	if r.URL != "" {
		var ok bool
		if p.Host, p.Target, ok = splitURL(r.URL); !ok {
			return p, `"url" is not absolute: write it as http://host/path?query, with the host that clients ask for.`
		}
	}
	return p, ""
}

// withoutScheme lets a prefix or glob be written as a URL is.
func withoutScheme(s string) string {
	for _, scheme := range []string{"http://", "https://"} {
		if rest, ok := strings.CutPrefix(s, scheme); ok {
			return rest
		}
	}
	return s
}

func (s *Server) purge(w http.ResponseWriter, r *http.Request) {
	var req purgeRequest
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		writeProblem(w, http.StatusBadRequest, `The body is not {"tag": "…"}, {"url": "http://host/path"} or the like: `+err.Error())
		return
	}
	what, problem := req.parse()
	if problem != "" {
		writeProblem(w, http.StatusBadRequest, problem)
		return
	}
	n, err := s.deps.Purger.Purge(r.Context(), what)
	if err != nil {
		writeProblem(w, http.StatusServiceUnavailable, "The purge is not done: "+err.Error())
		return
	}
	answer := map[string]any{"done": true, "soft": req.Soft}
	if what.Tag == "" {
		answer["purged"] = n
	}
	if what.Host != "" {
		answer["found"] = n > 0
	}
	writeJSON(w, http.StatusOK, answer)
}

// splitURL cuts an absolute URL without decoding anything of its target.
func splitURL(raw string) (host, target string, ok bool) {
	rest, ok := strings.CutPrefix(raw, "http://")
	if !ok {
		rest, ok = strings.CutPrefix(raw, "https://")
	}
	if !ok {
		return "", "", false
	}
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host, target = rest[:i], rest[i:]
	} else {
		host, target = rest, "/"
	}
	if strings.HasPrefix(target, "?") {
		target = "/" + target
	}
	return host, target, host != ""
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone; nobody is left to tell
}

// writeProblem answers with RFC 9457 problem details.
func writeProblem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail,
	})
}
