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

// Purger makes stored responses invalid. A call returns when this process no
// longer serves them.
type Purger interface {
	// PurgeTag purges every response with the tag.
	PurgeTag(ctx context.Context, tag string) error
	// PurgeURL purges the public response of one URL with all its variants; found
	// is false when Redis had none.
	PurgeURL(ctx context.Context, host, target string) (found bool, err error)
}

// Deps are what the listener shows and does.
type Deps struct {
	// Ready says whether requests are to be sent here, and details for a person.
	Ready   func() (ready bool, details map[string]any)
	Metrics prometheus.Gatherer
	Purger  Purger
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
	s.http = http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
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

// purgeRequest is the body of POST /purge: exactly one field is set.
type purgeRequest struct {
	Tag string `json:"tag"`
	URL string `json:"url"`
}

func (s *Server) purge(w http.ResponseWriter, r *http.Request) {
	var req purgeRequest
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		writeProblem(w, http.StatusBadRequest, `The body is not {"tag": "…"} or {"url": "http://host/path"}: `+err.Error())
		return
	}
	switch {
	case (req.Tag == "") == (req.URL == ""):
		writeProblem(w, http.StatusBadRequest, `Give either "tag" or "url".`)
	case req.Tag != "":
		if err := s.deps.Purger.PurgeTag(r.Context(), req.Tag); err != nil {
			writeProblem(w, http.StatusServiceUnavailable, "The purge is not done: "+err.Error())
			return
		}
		writeJSON(w, http.StatusOK, map[string]any{"purged": "tag", "tag": req.Tag})
	default:
		s.purgeURL(w, r, req.URL)
	}
}

func (s *Server) purgeURL(w http.ResponseWriter, r *http.Request, raw string) {
	host, target, ok := splitURL(raw)
	if !ok {
		writeProblem(w, http.StatusBadRequest, `"url" is not absolute: write it as http://host/path?query, with the host that clients ask for.`)
		return
	}
	found, err := s.deps.Purger.PurgeURL(r.Context(), host, target)
	if err != nil {
		writeProblem(w, http.StatusServiceUnavailable, "The purge is not done: "+err.Error())
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"purged": "url", "url": raw, "found": found})
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
