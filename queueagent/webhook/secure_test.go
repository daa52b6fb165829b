package webhook

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/internal/tlstest"
)

// serveTLS is an application of net/http that answers 200 on the path that has the name of
// the client's certificate, / without one, and 404 elsewhere. It gives its URL.
func serveTLS(tb testing.TB, server *tls.Config) string {
	tb.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		name := "/"
		for _, c := range r.TLS.PeerCertificates {
			name += c.Subject.CommonName
		}
		if r.URL.Path != name {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	srv.TLS, srv.Config.ErrorLog = server, log.New(io.Discard, "", 0)
	srv.StartTLS()
	tb.Cleanup(srv.Close)
	return srv.URL
}

// demanding makes a server ask for a certificate of its own authority.
func demanding(a *tlstest.Authority, server *tls.Config) {
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, a.Pool
}

// TestHandshakes: a handshake that fails is no attempt, in each version and wherever it
// fails, and the message says which setting to change: of the webhook, or of the
// application that the path is on.
func TestHandshakes(t *testing.T) {
	a, other := tlstest.New(t), tlstest.New(t)
	cert, key := a.Issue(t, "client")
	strange, strangeKey := other.Issue(t, "stranger")
	for _, tt := range []struct {
		name string
		app  func(*tls.Config)
		tls  TLS
		path string
		want string // in the error, after where the settings are; empty: it succeeds
	}{
		{"authority", nil, TLS{CA: a.File}, "/", ""},
		{"another authority", nil, TLS{CA: other.File}, "/", ".tls.ca"},
		{"the system's authorities", nil, TLS{}, "/", ".tls.ca"},
		{"another name", nil, TLS{CA: a.File, ServerName: "app.internal"}, "/", ".tls.server_name"},
		{"version", func(s *tls.Config) { s.MaxVersion = tls.VersionTLS12 }, TLS{CA: a.File, MinVersion: "1.3"}, "/", "refused the TLS handshake"},
		{"client certificate", func(s *tls.Config) { demanding(a, s) }, TLS{CA: a.File, Cert: cert, Key: key}, "/client", ""},
		{"no client certificate, 1.3", func(s *tls.Config) { demanding(a, s) }, TLS{CA: a.File}, "/", ".tls.cert"},
		{"no client certificate, 1.2", func(s *tls.Config) { demanding(a, s); s.MaxVersion = tls.VersionTLS12 }, TLS{CA: a.File}, "/", ".tls.cert"},
		{"a stranger's", func(s *tls.Config) { demanding(a, s) }, TLS{CA: a.File, Cert: strange, Key: strangeKey}, "/stranger", ".tls.cert"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := a.Server(t, "127.0.0.1")
			if tt.app != nil {
				tt.app(server)
			}
			url := serveTLS(t, server)
			whole := Config{URL: url + tt.path, Ready: tt.path, TLS: tt.tls}
			place, err := newTarget("x", url, nil, tt.tls)
			if err != nil {
				t.Fatal(err)
			}
			path := Config{URL: tt.path, Ready: tt.path, App: App{Address: place.addr, TLS: place.tls, Setting: "upstreams[2]"}}
			for at, cfg := range map[string]Config{"webhook": whole, "upstreams[2]": path} {
				s := newSender(t, cfg, Task{})
				answer, ready := send(s, "1"), s.end.Ready(context.Background())
				if tt.want == "" {
					if answer.Status != 200 || ready != nil {
						t.Errorf("%s: %+v, ready %v", at, answer, ready)
					}
					continue
				}
				want := tt.want
				if want[0] == '.' {
					want = at + want
				}
				large := s.Send(context.Background(), &fakeLease{}, &Request{ID: "2", Payload: strings.Repeat("x", 8<<20), Attempt: 1, Reason: "first"})
				for _, x := range []Answer{answer, large} {
					if x.Kind != KindUnreachable || !strings.Contains(x.Err.Error(), want) {
						t.Errorf("%s: %+v: want it unreachable, and %q", at, x, want)
					}
				}
				if ready == nil || !strings.Contains(ready.Error(), want) {
					t.Errorf("%s: ready: %v: want %q", at, ready, want)
				}
			}
		})
	}
}

// TLS that nobody speaks names the URL, each its own.
func TestNoTLS(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(apptest.Send("220 mail ready\r\n"), apptest.Drain()))
	url := "https://" + raw.Addr()
	s := newSender(t, Config{URL: url, Ready: url + "/readyz"}, Task{})
	if a := send(s, "1"); a.Kind != KindUnreachable || !strings.Contains(a.Err.Error(), "write http:// in webhook.url") {
		t.Errorf("%+v", a)
	}
	if err := s.end.Ready(context.Background()); err == nil || !strings.Contains(err.Error(), "write http:// in webhook.ready") {
		t.Errorf("%v", err)
	}
}

// What is refused where a kept connection has just ended may have ended it: an attempt.
func TestRefusedOnReplacementIsAnAttempt(t *testing.T) {
	a := tlstest.New(t)
	server := a.Server(t, "127.0.0.1")
	strict := server.Clone()
	demanding(a, strict)
	var handshakes atomic.Int64
	server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if handshakes.Add(1) > 1 {
			return strict, nil
		}
		return nil, nil
	}
	raw := apptest.StartTLS(t, server, apptest.InTurn(
		[]apptest.Step{apptest.EchoOnce(""), apptest.Expect(), apptest.Close()},
		[]apptest.Step{apptest.Expect()}))
	s := newSender(t, Config{URL: raw.URL(), TLS: TLS{CA: a.File}}, Task{})
	if x := send(s, "1"); x.Status != 200 {
		t.Fatalf("%+v", x)
	}
	if x := send(s, "2"); x.Err == nil || x.Kind == KindUnreachable || handshakes.Load() != 2 {
		t.Errorf("%+v after %d handshakes: want a failure that counts, after 2", x, handshakes.Load())
	}
}

// TestClientCertificateIsReadAgain: a connection that is opened after the files changed
// shows the new certificate.
func TestClientCertificateIsReadAgain(t *testing.T) {
	a := tlstest.New(t)
	server := a.Server(t, "127.0.0.1")
	demanding(a, server)
	cfg := Config{URL: serveTLS(t, server) + "/{type}", TLS: TLS{CA: a.File}}
	cfg.TLS.Cert, cfg.TLS.Key = a.Issue(t, "first")
	s := newSender(t, cfg, Task{Type: "type"})
	shows := func(name string) bool {
		defer s.Close()
		x := s.Send(context.Background(), &fakeLease{}, &Request{ID: "1", Payload: `{"type":"` + name + `"}`, Attempt: 1, Reason: "first"})
		if x.Kind != KindAnswered {
			t.Fatalf("%+v", x)
		}
		return x.Status == 200
	}
	if !shows("first") {
		t.Error("another certificate is shown at first")
	}
	cert, key := a.Issue(t, "second")
	for to, from := range map[string]string{cfg.TLS.Cert: cert, cfg.TLS.Key: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(time.Minute); !shows("second"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the old certificate is still shown")
		}
	}
}
